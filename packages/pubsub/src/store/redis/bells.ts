import { setTimeout as sleep } from 'node:timers/promises';
import { type RedisConnections, StoreUnavailable, slotOf } from '@xmpp-grid/stream';
import type { Redis } from 'ioredis';

/** Channels of one slot in one command. */
const STEP = 500;
/** Commands under way at once while many channels are subscribed to again. */
const MAX_COMMANDS = 64;
const PAUSE_MS = 20;
/** How long a failed attempt to hear again rests; a new connection ends the rest. */
const RETRY_MS = 500;
/** Slots move many at a time, and a Cluster agrees on it in some milliseconds. */
const MOVED_MS = 50;
/** A link that is half open shows when this is not answered. */
const PING_MS = 5_000;

export interface BellsDeps {
  readonly connections: RedisConnections;
  /** How long a subscription may take to be confirmed. */
  readonly timeoutMs: number;
  heard(channel: string, message: Buffer): void;
  /** Heard again after a time in which bells may have been missed. */
  heardAgain(channels: readonly string[]): void;
  failed(error: unknown): void;
}

interface Channel {
  readonly name: string;
  readonly slot: number;
  /** The primary at which it is heard, or shall be. */
  place: string;
  isConfirmed: boolean;
}

/**
 * Sharded channels, heard over one plain connection to each primary (delivery.md §3.1). Owns these connections: when one
 * breaks, or a slot moves, its channels are subscribed to where they are now, and whoever listens is told to compare.
 */
export class Bells {
  readonly #deps: BellsDeps;
  readonly #channels = new Map<string, Channel>();
  readonly #connections = new Map<string, Redis>();
  readonly #stopListening: () => void;
  readonly #timer: NodeJS.Timeout;
  #retry: NodeJS.Timeout | undefined;
  #isMending = false;
  #mustMend = false;
  #isClosed = false;

  constructor(deps: BellsDeps) {
    this.#deps = deps;
    this.#stopListening = deps.connections.onSlotsRefreshed(() => this.#place());
    this.#timer = setInterval(() => this.#ping(), PING_MS).unref();
    for (const place of deps.connections.places) this.#at(place); // connected before the first topic is followed
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#retry);
    this.#stopListening();
    this.#channels.clear();
    for (const connection of this.#connections.values()) this.#deps.connections.release(connection);
    this.#connections.clear();
  }

  /**
   * Resolves when the subscription is confirmed. Tried again while a connection comes back: its break is no reason to refuse.
   *
   * @throws StoreUnavailable: it is not heard
   */
  async subscribe(name: string): Promise<void> {
    const slot = slotOf(name);
    const channel: Channel = { name, slot, place: this.#deps.connections.placeOfSlot(slot), isConfirmed: false };
    this.#channels.set(name, channel);
    const endMs = performance.now() + this.#deps.timeoutMs;
    for (;;) {
      if (channel.isConfirmed) return;
      try {
        await this.#send(channel.place, [channel]);
        return;
      } catch (cause) {
        if (this.#isClosed || performance.now() >= endMs || this.#channels.get(name) !== channel) {
          if (this.#channels.get(name) === channel) this.#channels.delete(name);
          throw new StoreUnavailable('not-done', cause);
        }
      }
      await sleep(PAUSE_MS);
      if (!channel.isConfirmed) await this.#deps.connections.refreshSlots(); // its primary may be another by now
    }
  }

  async unsubscribe(name: string): Promise<void> {
    const channel = this.#channels.get(name);
    if (!channel) return;
    this.#channels.delete(name);
    const connection = this.#connections.get(channel.place);
    // A connection that is broken hears nothing, and subscribes to what is wanted when it is back.
    if (connection?.status !== 'ready') return;
    await connection.sunsubscribe(name).catch((error: unknown) => this.#deps.failed(error));
  }

  /** One command: channels of one slot where keys are sharded. */
  async #send(place: string, channels: readonly Channel[]): Promise<void> {
    await this.#at(place).ssubscribe(...channels.map(({ name }) => name));
    for (const channel of channels) if (channel.place === place) channel.isConfirmed = true;
  }

  #at(place: string): Redis {
    const known = this.#connections.get(place);
    if (known) return known;
    if (this.#isClosed) throw new StoreUnavailable('not-done', new Error('closed'));
    const connection = this.#deps.connections.subscriber(place);
    this.#connections.set(place, connection);
    connection.on('smessageBuffer', (name: Buffer, message: Buffer) => this.#deps.heard(name.toString(), message));
    connection.on('close', () => this.#lost(place));
    connection.on('ready', () => void this.#mend());
    // Channels were taken from us because their slots moved; it does not say which.
    connection.on('moved', () => {
      this.#lost(place);
      void this.#deps.connections.refreshSlots().then(() => this.#mendSoon(MOVED_MS));
    });
    return connection;
  }

  #lost(place: string): void {
    for (const channel of this.#channels.values()) if (channel.place === place) channel.isConfirmed = false;
  }

  /** Slots may be elsewhere. */
  #place(): void {
    const { connections } = this.#deps;
    let isMoved = false;
    for (const channel of this.#channels.values()) {
      const place = connections.placeOfSlot(channel.slot);
      if (place === channel.place || place === '') continue;
      channel.place = place;
      channel.isConfirmed = false;
      isMoved = true;
    }
    const { places } = connections;
    for (const [place, connection] of this.#connections) {
      if (places.has(place)) continue;
      connections.release(connection);
      this.#connections.delete(place);
    }
    if (isMoved) void this.#mend();
  }

  /** Subscribes to what is wanted and not confirmed. One at a time; what comes up meanwhile has its turn. */
  async #mend(): Promise<void> {
    this.#mustMend = true;
    if (this.#isMending) return;
    this.#isMending = true;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    try {
      while (this.#mustMend && !this.#isClosed) {
        this.#mustMend = false;
        await this.#mendOnce();
      }
    } catch (error) {
      if (this.#isClosed) return;
      this.#deps.failed(error);
      void this.#deps.connections.refreshSlots().then(() => this.#mendSoon(RETRY_MS));
    } finally {
      this.#isMending = false;
    }
  }

  #mendSoon(pauseMs: number): void {
    if (this.#isClosed) return;
    this.#retry ??= setTimeout(() => void this.#mend(), pauseMs).unref();
  }

  async #mendOnce(): Promise<void> {
    const { connections } = this.#deps;
    const groups = new Map<string, Channel[]>();
    for (const channel of this.#channels.values()) {
      if (channel.isConfirmed) continue;
      const key = connections.isSharded ? `${channel.place} ${channel.slot}` : channel.place;
      const group = groups.get(key);
      if (group) group.push(channel);
      else groups.set(key, [channel]);
    }
    const commands: (readonly Channel[])[] = [];
    for (const group of groups.values()) {
      for (let from = 0; from < group.length; from += STEP) commands.push(group.slice(from, from + STEP));
    }
    const failures: unknown[] = [];
    for (let from = 0; from < commands.length; from += MAX_COMMANDS) {
      const some = commands.slice(from, from + MAX_COMMANDS).map((command) => this.#hearAgain(command));
      for (const outcome of await Promise.allSettled(some)) if (outcome.status === 'rejected') failures.push(outcome.reason);
    }
    // One primary that is away keeps no other from being heard.
    if (failures.length > 0) throw failures[0];
  }

  async #hearAgain(channels: readonly Channel[]): Promise<void> {
    const wanted = channels.filter((channel) => !channel.isConfirmed && this.#channels.get(channel.name) === channel);
    const [first] = wanted;
    if (!first) return;
    await this.#send(first.place, wanted);
    for (const { name } of wanted) if (!this.#channels.has(name)) await this.#forget(first.place, name);
    this.#deps.heardAgain(wanted.map(({ name }) => name));
  }

  /** Unsubscribed while it was being subscribed to again. */
  async #forget(place: string, name: string): Promise<void> {
    await this.#connections.get(place)?.sunsubscribe(name);
  }

  #ping(): void {
    for (const connection of this.#connections.values()) {
      if (connection.status !== 'ready') continue;
      connection.ping().catch((error: unknown) => this.#deps.failed(error));
    }
  }
}

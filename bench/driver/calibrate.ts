import { createServer, type TLSSocket } from 'node:tls';
import { monotonicMicros, renderMark } from './event-scanner.ts';

/**
 * The floor: a bare Node TLS server that writes the same bytes to the same number of sockets and does nothing else.
 * (For logins: takes as many connections and closes them.) What it costs on this machine, in this minute, is what the server's own cost is divided by. Runs as its own
 * process, so that its CPU time is read as the server's is.
 */

/** To the calibration process. */
export type CalibrationMessage =
  | {
      readonly operation: 'listen';
      readonly cert: string;
      readonly key: string /** Asks for certificates of this authority. */;
      readonly clientCa?: string;
    }
  /** Answers once so many sockets have finished their handshake; the client's side of it ends before ours. */
  | { readonly operation: 'gather'; readonly sockets: number }
  /** Writes `burst` stanzas, in one write, to each socket; their marks count on from the last. */
  | { readonly operation: 'broadcast'; readonly before: string; readonly after: string; readonly burst: number };

/** From the calibration process: the port after `listen`; the number of sockets after `gather` and `broadcast`. */
export type CalibrationAnswer = { readonly port: number } | { readonly sockets: number };

const sockets = new Set<TLSSocket>();
let lastSeq = 0;
let awaitedSockets = Number.POSITIVE_INFINITY;

process.on('message', (message: CalibrationMessage) => {
  if (message.operation === 'listen') {
    const asking = message.clientCa === undefined ? {} : { ca: message.clientCa, requestCert: true, rejectUnauthorized: true };
    const server = createServer({ cert: message.cert, key: message.key, minVersion: 'TLSv1.3', ...asking }, (socket) => {
      socket.setNoDelay(true);
      sockets.add(socket);
      answerWhenGathered();
      socket.on('close', () => sockets.delete(socket));
      socket.on('error', () => sockets.delete(socket)); // a swarm that left; 'close' follows
      socket.resume();
    });
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address !== null && typeof address === 'object') reply({ port: address.port });
    });
    return;
  }
  if (message.operation === 'gather') {
    awaitedSockets = message.sockets;
    answerWhenGathered();
    return;
  }
  const stanzas: string[] = [];
  for (let i = 0; i < message.burst; i++) {
    lastSeq += 1;
    stanzas.push(`${message.before}${renderMark(0, lastSeq, monotonicMicros())}${message.after}`);
  }
  const bytes = Buffer.from(stanzas.join(''), 'utf8');
  for (const socket of sockets) socket.write(bytes);
  reply({ sockets: sockets.size });
});
process.on('disconnect', () => process.exit(0));

function answerWhenGathered(): void {
  if (sockets.size < awaitedSockets) return;
  awaitedSockets = Number.POSITIVE_INFINITY;
  reply({ sockets: sockets.size });
}

function reply(answer: CalibrationAnswer): void {
  process.send?.(answer);
}

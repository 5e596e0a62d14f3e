import { Calibrator } from '../driver/calibrator.ts';
import { BenchAuthority } from '../driver/certificates.ts';
import { makeReport, type ReportTemplate } from '../driver/report-payload.ts';
import type { Rig } from '../driver/rig.ts';
import type { Measured } from '../driver/server.ts';

/** What is around the report in the floor's stanzas; the report is as long as needed to make the whole as long as ours. */
const ENVELOPE_HEAD = `<message xmlns='jabber:client' from='broker.localhost' to='platform-000001@localhost' id='0123456789abcdef.1-0123456789abcdef'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='bench'><item id='0-1'>`;
const ENVELOPE_TAIL = '</item></items></event></message>';
const SMALLEST_REPORT = 700;
const GROUP = 'floor';

/** The floor of fan-out: bare TLS writes of stanzas of some size to some sockets of the same swarms, in the same closed loop. */
export class WriteFloor implements Measured {
  readonly #rig: Rig;
  readonly #calibrator: Calibrator;
  readonly #sockets: number;
  readonly #burst: number;
  readonly #report: ReportTemplate;
  #rounds = 0;

  private constructor(rig: Rig, calibrator: Calibrator, sockets: number, burst: number, report: ReportTemplate) {
    this.#rig = rig;
    this.#calibrator = calibrator;
    this.#sockets = sockets;
    this.#burst = burst;
    this.#report = report;
  }

  static async open(rig: Rig, sockets: number, burst: number, stanzaBytes: number, seed: number): Promise<WriteFloor> {
    const authority = await BenchAuthority.create();
    const calibrator = new Calibrator();
    try {
      const port = await calibrator.listen(await authority.server('localhost'));
      await rig.openBareGroup(GROUP, sockets, port, authority.cert);
      await calibrator.gather(sockets);
    } catch (error) {
      calibrator.stop();
      throw error;
    }
    const reportBytes = Math.max(SMALLEST_REPORT, stanzaBytes - ENVELOPE_HEAD.length - ENVELOPE_TAIL.length);
    return new WriteFloor(rig, calibrator, sockets, burst, makeReport(reportBytes, seed));
  }

  get pids(): readonly number[] {
    return [this.#calibrator.pid];
  }

  /** One burst, as one write, to every socket; resolves when all have it. */
  async round(): Promise<void> {
    this.#rounds += 1;
    const reached = await this.#calibrator.broadcast(
      ENVELOPE_HEAD + this.#report.before,
      this.#report.after + ENVELOPE_TAIL,
      this.#burst,
    );
    if (reached !== this.#sockets) throw new Error(`the calibration reached ${reached} of ${this.#sockets} sockets`);
    await this.#rig.received(GROUP, this.#sockets, this.#rounds * this.#burst);
  }

  async close(): Promise<void> {
    await this.#rig.closeGroup(GROUP);
    this.#calibrator.stop();
  }
}

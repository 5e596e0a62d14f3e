import type { SessionView, StatusView, TopicSummary } from '../../admin/operations.ts';
import { withAdmin, withRunning } from '../admin-access.ts';
import type { Command, Options } from '../command.ts';
import { note, print, printJson, spellTime, table, visible } from '../output.ts';
import { configOf, STORE_OPTIONS } from '../settings-options.ts';

const JSON_OPTION = { json: { type: 'boolean', doc: 'Print JSON.' } } as const satisfies Options;
const PAGE = 1000;

const topicList: Command = {
  name: 'topic list',
  summary: 'List all topics.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values) {
    const topics = await withAdmin(configOf(values), async (admin) => {
      const all: TopicSummary[] = [];
      for (let after: string | undefined; ; after = all.at(-1)?.node) {
        const page = await admin.topicList(after === undefined ? { max: PAGE } : { max: PAGE, after });
        all.push(...page.topics);
        if (page.topics.length === 0 || all.length >= page.count) return all;
      }
    });
    if (values.has('json')) printJson(topics);
    else if (topics.length === 0) note('no topics yet; a platform makes one by XEP-0060 §8.1');
    else {
      print(
        table(
          ['TOPIC', 'ACCESS', 'SUBSCRIPTIONS', 'LAST', 'TYPE'],
          topics.map((topic) => [
            topic.node,
            topic.accessModel,
            String(topic.subscriptions),
            String(topic.head),
            topic.type || 'any',
          ]),
        ),
      );
    }
    return 0;
  },
};

const topicShow: Command = {
  name: 'topic show',
  args: ['TOPIC'],
  summary: 'Show one topic: configuration, affiliations, subscriptions.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values, [node]) {
    const topic = await withAdmin(configOf(values), (admin) => admin.topicShow({ node: node! }));
    if (values.has('json')) {
      printJson(topic);
      return 0;
    }
    print(`topic    ${visible(topic.node)}`);
    print(`created  ${spellTime(topic.createdMs)} by ${topic.creator}`);
    print(`items    ${topic.items} kept, last entry ${topic.head}`);
    print('\nconfiguration');
    for (const [name, value] of Object.entries(topic.config)) print(`  ${name.padEnd(22)} ${visible(String(value))}`);
    print('\naffiliations');
    for (const { jid, affiliation } of topic.affiliations) print(`  ${affiliation.padEnd(13)} ${jid}`);
    print(`\nsubscriptions (${topic.subscriptions})`);
    for (const { jid, state, sinceMs } of topic.subscribers) print(`  ${state.padEnd(13)} ${jid}  since ${spellTime(sinceMs)}`);
    return 0;
  },
};

const sessionList: Command = {
  name: 'session list',
  summary: 'List the sessions of the running instance.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values) {
    const sessions = await withRunning(configOf(values), async (admin) => {
      const all: SessionView[] = [];
      for (let after: string | undefined; ; after = all.at(-1)?.jid) {
        const page = await admin.sessionList(after === undefined ? { max: PAGE } : { max: PAGE, after });
        all.push(...page);
        if (page.length < PAGE) return all;
      }
    });
    if (values.has('json')) printJson(sessions);
    else if (sessions.length === 0) note('nobody is connected');
    else {
      print(
        table(
          ['SESSION', 'ROLE', 'MECHANISM', 'TLS', 'FROM', 'SINCE'],
          sessions.map((session) => [
            session.jid,
            session.role,
            session.mechanism,
            session.tlsVersion,
            session.remoteAddress,
            spellTime(session.sinceMs),
          ]),
        ),
      );
    }
    return 0;
  },
};

const status: Command = {
  name: 'status',
  summary: 'Show what the running instance serves, and how much.',
  options: { ...STORE_OPTIONS, ...JSON_OPTION },
  async run(values) {
    const view = await withRunning(configOf(values), (admin) => admin.status());
    if (values.has('json')) {
      printJson(view);
      return 0;
    }
    const rows: (readonly [string, string])[] = [
      [
        'state',
        `${view.state}, xmpp-grid ${view.version}, process ${view.pid}${view.members === undefined ? `, instance ${view.instanceId}` : ''}`,
      ],
      ['since', spellTime(view.startedMs)],
      ['domain', `${view.domain}, Broker ${view.brokerDomain}, profile ${view.profile}`],
      ...Object.entries(view.listeners).map(([name, where]) => [name, where] as const),
      ['certificate', view.certificateNotAfterMs === undefined ? 'none' : `valid until ${spellTime(view.certificateNotAfterMs)}`],
      ['platforms', String(view.platforms)],
      ['topics', String(view.topics)],
      ['sessions', String(view.sessions)],
      ...(view.members ?? []).map((member) => [member.name, spellMember(member)] as const),
    ];
    print(rows.map(([left, right]) => `${left.padEnd(12)} ${right}`).join('\n'));
    return 0;
  },
};

function spellMember({ state, pid, instanceId, sessions }: NonNullable<StatusView['members']>[number]): string {
  if (pid === undefined || instanceId === undefined) return state;
  return `${state}, process ${pid}, instance ${instanceId}, ${sessions} session${sessions === 1 ? '' : 's'}`;
}

export const INSPECT_COMMANDS: readonly Command[] = [topicList, topicShow, sessionList, status];

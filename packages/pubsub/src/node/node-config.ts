/**
 * The configuration form of a topic (FORM_TYPE pubsub#node_config, XEP-0060 §16.4.4): field, type, label, range, and
 * what is answered to a submission. Every field of `TopicConfig` is in the form and nothing else is.
 */

import {
  booleanField,
  FORM_TYPE,
  FormFault,
  type FormTable,
  integerField,
  listField,
  NS,
  parseForm,
  parseXsBoolean,
  type ReceivedForm,
  readSubmission,
  renderForm,
  shownFields,
  textField,
} from '@xmpp-grid/stream';
import type { Element } from 'ltx';
import { PubsubError, unsupported } from '../errors.ts';
import type { AccessModel, TopicConfig } from '../store/topic-config.ts';

/** `grid` keeps to RFC 8600 §8.3.4; `compat` adds the open access model. */
export type Profile = 'grid' | 'compat';

export interface ConfigLimits {
  /** Highest `pubsub#max_items`, and what `max` stands for. */
  readonly maxItems: number;
  /** Highest `pubsub#max_payload_size`, bytes. */
  readonly maxPayloadBytes: number;
}

const ACCESS_MODEL_LABELS = {
  authorize: 'Subscription requests must be approved and only subscribers may retrieve items',
  whitelist: 'Only those on a whitelist may subscribe and retrieve items',
  open: 'Anyone may subscribe and retrieve items',
} as const satisfies Record<AccessModel, string>;

const PROFILE_ACCESS_MODELS = {
  grid: ['authorize', 'whitelist'],
  compat: ['authorize', 'whitelist', 'open'],
} as const satisfies Record<Profile, readonly AccessModel[]>;

/** A title is for one line of a list, a description for a paragraph; a type is a namespace name. */
const MAX_TITLE_BYTES = 1024;
const MAX_DESCRIPTION_BYTES = 4096;
const MAX_TYPE_BYTES = 1024;

function refuseAccessModel(model: string): never {
  // §8.1.2: presence and roster in both profiles, open in grid, and whatever nobody defined
  throw new PubsubError('unsupported-access-model', {
    text: `access model ${JSON.stringify(model.slice(0, 40))} is not offered`,
  });
}

function configTable(profile: Profile, limits: ConfigLimits): FormTable<TopicConfig> {
  return {
    title: textField('pubsub#title', 'A friendly name for the node', MAX_TITLE_BYTES),
    description: textField('pubsub#description', 'A description of the node', MAX_DESCRIPTION_BYTES),
    type: textField('pubsub#type', 'Namespace of the payloads; any when empty', MAX_TYPE_BYTES),
    accessModel: listField(
      'pubsub#access_model',
      'Who may subscribe and retrieve items',
      PROFILE_ACCESS_MODELS[profile].map((value) => ({ value, label: ACCESS_MODEL_LABELS[value] })),
      refuseAccessModel,
    ),
    publishModel: listField('pubsub#publish_model', 'The publisher model', [
      { value: 'publishers', label: 'Only publishers may publish' },
      { value: 'subscribers', label: 'Subscribers may publish' },
      { value: 'open', label: 'Anyone may publish' },
    ]),
    persistItems: booleanField('pubsub#persist_items', 'Whether to persist items to storage'),
    maxItems: integerField('pubsub#max_items', 'The maximum number of items to persist, or max', {
      min: 1,
      max: limits.maxItems,
      maxWord: true,
    }),
    maxPayloadSize: integerField('pubsub#max_payload_size', 'The maximum payload size in bytes', {
      min: 1,
      max: limits.maxPayloadBytes,
    }),
    deliverPayloads: booleanField('pubsub#deliver_payloads', 'Whether to deliver payloads with event notifications'),
    notificationType: listField('pubsub#notification_type', 'Specify the delivery style for notifications', [
      { value: 'normal', label: 'Messages of type normal' },
      { value: 'headline', label: 'Messages of type headline' },
      { value: 'chat', label: 'Messages of type chat' },
    ]),
    notifyConfig: booleanField('pubsub#notify_config', 'Whether to notify subscribers when the node configuration changes'),
    notifyDelete: booleanField('pubsub#notify_delete', 'Whether to notify subscribers when the node is deleted'),
    notifyRetract: booleanField('pubsub#notify_retract', 'Whether to notify subscribers when items are removed from the node'),
    sendLastPublishedItem: listField('pubsub#send_last_published_item', 'When to send the last published item', [
      { value: 'never', label: 'Never' },
    ]),
  };
}

/**
 * Registered fields that are not offered, with the values that ask for what the service does anyway. Clients submit
 * whole forms from the examples of XEP-0060; silence about any other value would be a promise not kept, so it is
 * refused (§8.2.5.2). Names that are not registered at all are ignored (XEP-0004 §3.1: MUST).
 */
const FIXED_FIELDS: Record<string, readonly string[]> = {
  'pubsub#body_xslt': [''],
  'pubsub#contact': [''],
  'pubsub#dataform_xslt': [''],
  'pubsub#deliver_notifications': ['1'],
  'pubsub#item_expire': ['', 'max'],
  'pubsub#itemreply': ['publisher'],
  'pubsub#language': [''],
  'pubsub#node_type': ['leaf'],
  'pubsub#notify_sub': ['0'],
  'pubsub#presence_based_delivery': ['0'],
  'pubsub#publish_node_full': ['retract-oldest'],
  'pubsub#purge_offline': ['0'],
  'pubsub#roster_groups_allowed': [''],
  'pubsub#subscribe': ['1'],
  'pubsub#tempsub': ['0'],
  'pubsub#collection': [''], // XEP-0248
};

function refuseOther(name: string, values: readonly string[]): void {
  const accepted = Object.hasOwn(FIXED_FIELDS, name) ? FIXED_FIELDS[name] : undefined;
  if (accepted === undefined) return;
  if (name === 'pubsub#node_type' && values[0] === 'collection') throw unsupported('collections'); // XEP-0248 §7.1.3.1
  for (const value of values.length === 0 ? [''] : values) {
    const truth = parseXsBoolean(value);
    const plain = truth === undefined ? value : truth ? '1' : '0';
    if (!accepted.includes(plain)) throw new FormFault(name, 'this value is not offered');
  }
}

/** Reads and shows configurations under one profile and set of limits. */
export class NodeConfigForm {
  readonly #table: FormTable<TopicConfig>;

  constructor(profile: Profile, limits: ConfigLimits) {
    this.#table = configTable(profile, limits);
  }

  /**
   * Applies a submitted `<x/>` to a configuration; fields left out keep their value (XEP-0004 §3.5).
   *
   * @returns undefined when the form was cancelled (§8.2.4)
   * @throws PubsubError `malformed-configure` | `configuration-not-processable` | `unsupported-access-model` | `unsupported`
   */
  apply(x: Element, current: TopicConfig): TopicConfig | undefined {
    try {
      const form = parseForm(x);
      if (form.kind === 'cancel') return undefined;
      checkSubmission(form);
      return { ...current, ...readSubmission(this.#table, form, refuseOther) };
    } catch (error) {
      if (error instanceof FormFault)
        throw new PubsubError('configuration-not-processable', { text: error.message, cause: error });
      throw error;
    }
  }

  /** The form to fill in, with the present values as defaults (§8.2.2, §8.3.3). */
  render(config: TopicConfig): Element {
    return renderForm('form', FORM_TYPE.nodeConfig, shownFields(this.#table, config));
  }

  /** The configuration as told to subscribers (§8.2.5.3, example 151): names and values alone. */
  renderResult(config: TopicConfig): Element {
    const fields = shownFields(this.#table, config).map(({ var: name, values }) => ({ var: name, values }));
    return renderForm('result', FORM_TYPE.nodeConfig, fields);
  }
}

function checkSubmission(form: ReceivedForm): void {
  if (form.kind !== 'submit') throw new PubsubError('malformed-configure', { text: 'the form is not of type submit' });
  if (form.formType !== FORM_TYPE.nodeConfig) throw new FormFault('FORM_TYPE', `must be ${FORM_TYPE.nodeConfig}`);
}

/** The form inside `<configure/>` and the like; undefined when there is none. */
export const formOf = (wrapper: Element): Element | undefined => wrapper.getChild('x', NS.dataForms) ?? undefined;

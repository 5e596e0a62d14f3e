import { BUILT_IN_ROLES, type RoleTemplate, VERBS } from '@xmpp-grid/auth';
import type { SessionLimits } from '@xmpp-grid/stream';
import { z } from 'zod';
import { type Setting, size } from './setting.ts';

/** A role as the file states it; what it leaves out comes from `limits`. */
export interface RoleSetting {
  readonly name: string;
  readonly grants: RoleTemplate['grants'];
  readonly approve: readonly string[];
  readonly limits: Partial<SessionLimits>;
}

/** Every name that may stand inside a role, for messages. */
export const ROLE_KEYS = [
  'grants',
  'verbs',
  'topics',
  'types',
  'approve',
  'limits',
  'maxStanzaBytes',
  'hardStanzaBytes',
  'maxResources',
];

const stanzaBytes = size({ minBytes: 10_000, maxBytes: 256 * 1024 ** 2, default: undefined, doc: '' });
const patterns = z.array(z.string().min(1).max(1024)).max(1000);
const grant = z.strictObject({
  verbs: z.array(z.enum(VERBS)).min(1),
  topics: patterns.min(1),
  types: z.array(z.string().min(1).max(1024)).max(1000).optional(),
});
const roleSchema = z.strictObject({
  grants: z.array(grant).min(1).max(1000),
  approve: patterns.default([]),
  limits: z
    .strictObject({
      maxStanzaBytes: stanzaBytes.schema.optional(),
      hardStanzaBytes: stanzaBytes.schema.optional(),
      maxResources: z.int().min(1).max(10_000).optional(),
    })
    .default({}),
});

/** `NAME: {grants: [{verbs, topics, types}], approve, limits}`; replaces a built-in role of the same name. */
export function roles(rest: { readonly doc: string }): Setting<readonly RoleSetting[]> {
  const name = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'a role name is 1 to 32 of a-z, 0-9 and -, and begins with a letter');
  return {
    kind: 'setting',
    schema: z
      .record(name, roleSchema)
      .transform((record) => Object.entries(record).map(([roleName, role]) => withoutUndefined({ name: roleName, ...role }))),
    accepts: 'roles as `NAME: {grants: [{verbs, topics, types}], approve, limits}`',
    default: {},
    defaultText: `none besides the built-in ${BUILT_IN_ROLES.map((role) => `\`${role.name}\``).join(', ')}`,
    ...rest,
  };
}

/** Every role of an instance: the built-in ones, replaced or joined by those of the file. */
export function roleTemplates(configured: readonly RoleSetting[], limits: SessionLimits): readonly RoleTemplate[] {
  const { maxStanzaBytes, hardStanzaBytes, maxResources } = limits;
  const byName = new Map<string, RoleTemplate>();
  for (const role of BUILT_IN_ROLES)
    byName.set(role.name, { ...role, limits: { maxStanzaBytes, hardStanzaBytes, maxResources } });
  for (const role of configured) {
    const own = { maxStanzaBytes, hardStanzaBytes, maxResources, ...role.limits };
    // A role that raises the soft limit alone means to be allowed such stanzas.
    byName.set(role.name, { ...role, limits: { ...own, hardStanzaBytes: Math.max(own.hardStanzaBytes, own.maxStanzaBytes) } });
  }
  return [...byName.values()];
}

/** zod yields `undefined` for absent optional keys; the types of the product mean absence by absence. */
function withoutUndefined(role: unknown): RoleSetting {
  return JSON.parse(JSON.stringify(role)) as RoleSetting;
}

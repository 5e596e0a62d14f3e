import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '@xmpp-grid/server';
import { describe, expect, it } from 'vitest';

const DEPLOY = fileURLToPath(new URL('../../../deploy/', import.meta.url));

describe('deploy/', () => {
  it('grid.yaml is a configuration that the program takes', () => {
    const config = loadConfig({ cwd: DEPLOY, file: 'grid.yaml' });
    expect(config.domain).toBe('grid.example');
    expect(config.roles.map(({ name }) => name)).toEqual(expect.arrayContaining(['sensor', 'soc']));
    expect(config.roles.find(({ name }) => name === 'sensor')?.grants[0]?.verbs).toEqual(['publish', 'discover']);
  });

  it('the image runs as an ordinary user, in exec form, and stops by SIGTERM (G-095)', () => {
    const dockerfile = readFileSync(`${DEPLOY}Dockerfile`, 'utf8');
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
    expect(last).toMatch(/^ENTRYPOINT \[/m);
    expect(last).not.toMatch(/^(?:ADD|ARG) /m);
  });
});

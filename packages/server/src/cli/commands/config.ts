import { loadConfig } from '../../config-load.ts';
import { renderConfig, renderReference } from '../../config-reference.ts';
import { loadTlsCredentials } from '../../tls-files.ts';
import type { Command } from '../command.ts';
import { note, print } from '../output.ts';
import { configOf, SETTING_OPTIONS } from '../settings-options.ts';

const check: Command = {
  name: 'config check',
  args: ['FILE'],
  summary: 'Check a configuration file and the files that it names; list everything that is wrong.',
  options: {},
  async run(_values, [file]) {
    const config = loadConfig({ cwd: process.cwd(), file: file! });
    if (config.tls.certificate !== undefined) {
      for (const warning of loadTlsCredentials(config, Date.now()).warnings) note(`${file}: warning: ${warning}`);
    }
    print(`${file}: ok`);
    return 0;
  },
};

const show: Command = {
  name: 'config print',
  summary: 'Print the configuration in effect, defaults included, as YAML.',
  options: SETTING_OPTIONS,
  async run(values) {
    process.stdout.write(renderConfig(configOf(values)));
    return 0;
  },
};

const reference: Command = {
  name: 'config reference',
  summary: 'Print the page docs/configuration.md: every setting with type, default and meaning.',
  options: {},
  async run() {
    process.stdout.write(renderReference());
    return 0;
  },
};

export const CONFIG_COMMANDS: readonly Command[] = [check, show, reference];

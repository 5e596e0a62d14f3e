import { UsageError } from './command.ts';

const MAX_PASSWORD_BYTES = 1024;

/** Reads a password: twice at a prompt without echo on a terminal, else one line of stdin. @throws UsageError */
export async function readPassword(prompt: string): Promise<string> {
  if (!process.stdin.isTTY) return checked(await readLine(process.stdin));
  const first = checked(await readHidden(`${prompt}: `));
  if ((await readHidden(`${prompt} again: `)) !== first) throw new UsageError('the two passwords differ');
  return first;
}

function checked(password: string): string {
  if (password === '') throw new UsageError('an empty password');
  return password;
}

async function readLine(input: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk as Buffer);
    length += bytes.length;
    chunks.push(bytes);
    if (bytes.includes(0x0a) || length > MAX_PASSWORD_BYTES) break;
  }
  if (length > MAX_PASSWORD_BYTES) throw new UsageError(`a password may have ${MAX_PASSWORD_BYTES} bytes`);
  return Buffer.concat(chunks).toString('utf8').split('\n', 1)[0]!.replace(/\r$/, '');
}

/** One line from the terminal in raw mode, so that nothing is echoed. */
function readHidden(prompt: string): Promise<string> {
  const { stdin } = process;
  process.stderr.write(prompt);
  stdin.setRawMode(true);
  stdin.resume();
  return new Promise((resolve, reject) => {
    let text = '';
    const finish = (settle: () => void) => {
      stdin.off('data', onData);
      stdin.setRawMode(false);
      stdin.pause();
      process.stderr.write('\n');
      settle();
    };
    const onData = (chunk: Buffer) => {
      for (const character of chunk.toString('utf8')) {
        if (character === '\r' || character === '\n') return finish(() => resolve(text));
        if (character === '\u0003' || character === '\u0004') return finish(() => reject(new UsageError('interrupted')));
        if (character === '\u007f' || character === '\b') text = [...text].slice(0, -1).join('');
        else if (Buffer.byteLength(text) < MAX_PASSWORD_BYTES) text += character;
      }
    };
    stdin.on('data', onData);
  });
}

import { UsageError } from './command.ts';

const MAX_PASSWORD_BYTES = 1024;

/** Reads a password: twice at a prompt without echo on a terminal, else one line of stdin. @throws UsageError */
export async function readPassword(prompt: string): Promise<string> {
  if (!process.stdin.isTTY) return checked(await readLine(process.stdin));
  process.stdin.setRawMode(true); // before the prompt and over both: what is typed early must not be echoed either
  try {
    const first = checked(await readHidden(`${prompt}: `));
    if ((await readHidden(`${prompt} again: `)) !== first) throw new UsageError('the two passwords differ');
    return first;
  } finally {
    process.stdin.setRawMode(false);
    process.stdin.pause();
  }
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

/** One line from the terminal, which is in raw mode, so that nothing is echoed. What follows it stays for the next one. */
function readHidden(prompt: string): Promise<string> {
  const { stdin } = process;
  process.stderr.write(prompt);
  return new Promise((resolve, reject) => {
    let text = '';
    const onReadable = () => {
      for (let chunk = stdin.read() as Buffer | null; chunk !== null; chunk = stdin.read() as Buffer | null) {
        const characters = [...chunk.toString('utf8')];
        for (const [index, character] of characters.entries()) {
          if (character === '\r' || character === '\n') {
            const rest = characters.slice(index + 1).join('');
            return finish(rest, () => resolve(text));
          }
          if (character === '\u0003' || character === '\u0004') return finish('', () => reject(new UsageError('interrupted')));
          if (character === '\u007f' || character === '\b') text = [...text].slice(0, -1).join('');
          else if (Buffer.byteLength(text) < MAX_PASSWORD_BYTES) text += character;
        }
      }
    };
    const finish = (rest: string, settle: () => void) => {
      stdin.off('readable', onReadable);
      if (rest !== '') stdin.unshift(Buffer.from(rest));
      process.stderr.write('\n');
      settle();
    };
    stdin.on('readable', onReadable);
    onReadable();
  });
}

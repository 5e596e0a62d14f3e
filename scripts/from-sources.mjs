/** The command line from the TypeScript sources, for `npm run dev`: Node 24 with --conditions=development, nothing built. */
const { main } = await import('../packages/server/src/cli/main.ts');
process.exitCode = await main(process.argv.slice(2));

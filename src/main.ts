/** Entry of the program: `syncline <command>`. */
import { main } from "#cli/main.ts";

const code = await main(process.argv.slice(2), process.env);
// A reader that went away (`syncline log | head`) must not turn the end into an error.
process.exitCode = code;
if (code === 130) process.exit(code);

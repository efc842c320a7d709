/** The least that an FTP client has to do, the same for every server: one command, one answer. */
import { WrongResult } from "./workload.ts";

type Wake = { readonly resolve: () => void };

export class FtpClient {
  #text = "";
  #isClosed = false;
  #wake: Wake | undefined;
  #socket: Bun.Socket | undefined;

  static async signedIn(port: number, user: string, password: string): Promise<FtpClient> {
    const client = new FtpClient();
    client.#socket = await Bun.connect({
      hostname: "127.0.0.1", port,
      socket: {
        data: (_, bytes) => client.#heard(bytes.toString()),
        close: () => client.#closed(),
        error: () => client.#closed(),
      },
    });
    client.#socket.setNoDelay(true);
    await client.#reply("220");
    await client.say(`USER ${user}`, "331");
    await client.say(`PASS ${password}`, "230");
    return client;
  }

  #heard(text: string): void {
    this.#text += text;
    this.#wake?.resolve();
  }

  #closed(): void {
    this.#isClosed = true;
    this.#wake?.resolve();
  }

  /** @returns the reply; throws when it is another one */
  async say(line: string, expected: string): Promise<string> {
    this.#socket!.write(`${line}\r\n`);
    return this.#reply(expected);
  }

  async #reply(expected: string): Promise<string> {
    for (;;) {
      const match = /^(\d{3}) [^\n]*\n/m.exec(this.#text);
      if (match !== null) {
        this.#text = this.#text.slice(match.index + match[0].length);
        if (match[1] !== expected) throw new WrongResult(`${match[0].trim()} instead of ${expected}`);
        return match[0];
      }
      if (this.#isClosed) throw new WrongResult("the server has hung up");
      await new Promise<void>((resolve) => (this.#wake = { resolve }));
    }
  }

  async store(name: string, bytes: Uint8Array): Promise<void> {
    const port = Number(/\|\|\|(\d+)\|/.exec(await this.say("EPSV", "229"))![1]);
    const data = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } });
    await this.say(`STOR ${name}`, "150");
    data.end(bytes);
    await this.#reply("226");
  }

  close(): void {
    this.#socket!.end();
  }
}

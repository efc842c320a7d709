/** Small file systems of a test's own; needs root, and says so when that is missing. */
import type { World } from "./harness.ts";

export class Mounts implements AsyncDisposable {
  readonly #world: World;
  readonly #mounted: string[] = [];

  /** Declare it after the world, so that it is unmounted before the world goes away. */
  constructor(world: World) {
    this.#world = world;
  }

  /** A new tmpfs at the (new) directory `name`. `options` are those of mount -o. */
  async tmpfs(name: string, options: string): Promise<string> {
    const path = this.#world.folder(name);
    await this.#must(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]);
    this.#mounted.push(path);
    return path;
  }

  /** A disk of its own, in the file `name`.img, at the (new) directory `name`: ext4, without sums of what is on it. */
  async disk(name: string, mebibytes: number): Promise<void> {
    this.#world.folder(name);
    await this.#must(["truncate", "-s", `${mebibytes}M`, `${name}.img`]);
    await this.#must(["mkfs.ext4", "-q", "-O", "^metadata_csum", `${name}.img`]);
    await this.plugIn(name);
  }

  async plugIn(name: string): Promise<void> {
    await this.#must(["mount", "-o", "loop", `${name}.img`, name]);
    this.#mounted.push(this.#world.path(name));
  }

  /** Nobody may use it any more; the file holds all of it afterwards. */
  async unplug(name: string): Promise<void> {
    await this.#must(["umount", name]);
    this.#mounted.splice(this.#mounted.indexOf(this.#world.path(name)), 1);
  }

  /** Sets the ctime of a file on a disk that is unplugged, which no call of a system can. */
  async setCtime(name: string, file: string, seconds: number): Promise<void> {
    await this.#must(["debugfs", "-w", "-R", `set_inode_field ${file} ctime @${seconds}`, `${name}.img`]);
  }

  async remount(name: string, options: string): Promise<void> {
    await this.#must(["mount", "-o", `remount,${options}`, this.#world.path(name)]);
  }

  /** At once, also while it is in use; what is open there stays usable for those who have it. */
  async unmount(name: string): Promise<void> {
    const path = this.#world.path(name);
    await this.#must(["umount", "-l", path]);
    this.#mounted.splice(this.#mounted.indexOf(path), 1);
  }

  async #must(command: string[]): Promise<void> {
    const done = await this.#world.command(command);
    if (done.code !== 0) throw new Error(`this test needs to mount (run it as root): ${command.join(" ")}: ${done.err}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of this.#mounted.reverse()) await this.#world.command(["umount", "-l", path]);
  }
}

/**
 * Completion scripts for bash (3.2 and later), zsh and fish, made from the table in options.ts. Pure.
 * They call no program: everything that can be completed is written into the script.
 */
import {
  COMMANDS,
  type CommandName,
  type OptionName,
  commandSpec,
  isCommand,
  optionSpec,
} from "#cli/options.ts";
import { PRESERVE_NAMES } from "#cli/values.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell): string {
  return shell === "bash" ? bashScript() : shell === "zsh" ? zshScript() : fishScript();
}

function visibleCommands(): CommandName[] {
  return Object.keys(COMMANDS)
    .filter(isCommand)
    .filter((name) => commandSpec(name).hidden !== true);
}

function allOptions(): OptionName[] {
  return [...new Set(visibleCommands().flatMap((name) => [...commandSpec(name).options]))];
}

/** The words an option's value can be, where they are known. */
function valueWords(name: OptionName): readonly string[] {
  const spec = optionSpec(name);
  if (spec.type === "choice") return spec.choices;
  return spec.type === "preserve" ? PRESERVE_NAMES : [];
}

function takesValue(name: OptionName): boolean {
  return optionSpec(name).type !== "flag";
}

/** Fixed operands of a command: its own words, shells, command names. */
function operandWords(name: CommandName): readonly string[] {
  const { complete: kind, words, someWords } = commandSpec(name);
  if (words !== undefined) return words;
  if (someWords !== undefined) return someWords;
  return kind === "shell" ? SHELLS : kind === "command" ? visibleCommands() : [];
}

function bashScript(): string {
  const values = allOptions()
    .filter(takesValue)
    .map((name) => {
      const words = valueWords(name);
      const body =
        words.length === 0 ? "return" : `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$cur")); return`;
      return `    --${name}) ${body} ;;`;
    });
  const commands = visibleCommands().map((name) => {
    const flags = commandSpec(name)
      .options.map((option) => `--${option}`)
      .join(" ");
    const operands = operandWords(name);
    const body =
      operands.length === 0
        ? ""
        : `\n      [[ $cur != -* ]] && COMPREPLY=($(compgen -W "${operands.join(" ")}" -- "$cur"))`;
    return `    ${name})\n      [[ $cur == -* ]] && COMPREPLY=($(compgen -W "${flags}" -- "$cur"))${body} ;;`;
  });
  return `# bash completion for syncline. Where nothing is added here, "-o default" completes file names.
_syncline() {
  local cur prev command= at
  cur=\${COMP_WORDS[COMP_CWORD]}
  prev=\${COMP_WORDS[COMP_CWORD-1]}
  # "=" is a word of its own in bash's eyes: --mode=x is three words.
  if [[ $cur == "=" ]]; then
    cur=
  elif [[ $prev == "=" && COMP_CWORD -gt 2 ]]; then
    prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  COMPREPLY=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ \${COMP_WORDS[at]} != -* ]] && { command=\${COMP_WORDS[at]}; break; }
  done
  case $prev in
${values.join("\n")}
  esac
  case $command in
    "") COMPREPLY=($(compgen -W "${visibleCommands().join(" ")}" -- "$cur")) ;;
${commands.join("\n")}
  esac
  return 0
}
complete -o default -F _syncline syncline
`;
}

function zshQuote(text: string): string {
  return text.replaceAll("'", "’").replace(/[[\]:]/g, "\\$&");
}

function zshOption(name: OptionName): string {
  const spec = optionSpec(name);
  const help = `[${zshQuote(spec.help)}]`;
  const repeat = spec.type === "list" ? "*" : "";
  if (!takesValue(name)) return `'${repeat}--${name}${help}'`;
  const words = valueWords(name);
  const file = (spec.type === "text" || spec.type === "list") && spec.complete !== undefined;
  const action =
    words.length > 0
      ? `(${words.join(" ")})`
      : file
        ? spec.complete === "dir"
          ? "_files -/"
          : "_files"
        : " ";
  return `'${repeat}--${name}=${help}:${name}:${action}'`;
}

function zshScript(): string {
  const commands = visibleCommands().map((name) => `    '${name}:${zshQuote(commandSpec(name).summary)}'`);
  const cases = visibleCommands().map((name) => {
    const words = operandWords(name);
    const kind = commandSpec(name).complete;
    const operands =
      words.length > 0 ? `'1:name:(${words.join(" ")})'` : kind === undefined ? "" : "'*:path:_files'";
    const parts = [...commandSpec(name).options.map(zshOption), operands].filter((part) => part !== "");
    return `    ${name})\n      _arguments \\\n        ${parts.join(" \\\n        ")} ;;`;
  });
  return `#compdef syncline
_syncline() {
  local -a commands
  commands=(
${commands.join("\n")}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
${cases.join("\n")}
  esac
}
if [[ "$funcstack[1]" == "_syncline" ]]; then
  _syncline "$@"
else
  compdef _syncline syncline
fi
`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function fishScript(): string {
  const lines = ["# fish completion for syncline"];
  const none = "__fish_use_subcommand";
  for (const name of visibleCommands()) {
    lines.push(`complete -c syncline -f -n ${none} -a ${name} -d ${fishQuote(commandSpec(name).summary)}`);
  }
  for (const name of visibleCommands()) {
    const seen = fishQuote(`__fish_seen_subcommand_from ${name}`);
    for (const option of commandSpec(name).options) {
      const spec = optionSpec(option);
      const words = valueWords(option);
      const short = spec.short === undefined ? "" : ` -s ${spec.short}`;
      const file = (spec.type === "text" || spec.type === "list") && spec.complete !== undefined;
      const value = !takesValue(option)
        ? ""
        : words.length > 0
          ? ` -x -a ${fishQuote(words.join(" "))}`
          : file
            ? " -r -F"
            : " -x";
      lines.push(`complete -c syncline -n ${seen} -l ${option}${short}${value} -d ${fishQuote(spec.help)}`);
    }
    const operands = operandWords(name);
    if (operands.length > 0)
      lines.push(`complete -c syncline -f -n ${seen} -a ${fishQuote(operands.join(" "))}`);
  }
  return `${lines.join("\n")}\n`;
}

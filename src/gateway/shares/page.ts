/** The page of a share, for people with a browser. Plain HTML; what it looks like and does are files of their own. */
import type { Share } from "#hub/shares/share.ts";
import { mayDownload, mayUpload } from "#hub/shares/share.ts";
import type { Version } from "#hub/space.ts";
import { nameOf, printablePath } from "#model/path.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import { escapeXml as escape } from "#gateway/xml.ts";

/** Nothing from elsewhere, nothing inline, in nobody's frame. */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; " +
  "base-uri 'none'; frame-ancestors 'none'";

const FILE =
  '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true">' +
  '<path d="M5 2.5h6l4 4v11H5z"/><path d="M11 2.5v4h4"/></svg>';
const FOLDER =
  '<svg viewBox="0 0 20 20" fill="currentColor" aria-hidden="true"><path d="M2 5a1.5 1.5 0 0 1 1.5-1.5h4l2 2h7A1.5 1.5 0 0 1 ' +
  '18 7v7.5a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 2 14.5z"/></svg>';

function documentOf(title: string, inside: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>${escape(title)}</title><link rel="stylesheet" href="/s/-/share.css"></head>
<body><main>${inside}</main><script src="/s/-/share.js" defer></script></body></html>
`;
}

/** A few words where there is nothing to show. */
export function wordsPage(title: string, words: string): string {
  return documentOf(title, `<header><h1>${escape(title)}</h1><p>${escape(words)}</p></header>`);
}

/** @param trouble what was wrong with the last try */
export function passwordPage(action: string, trouble: string | undefined): string {
  const bad = trouble === undefined ? "" : `<p class="bad" role="alert">${escape(trouble)}</p>`;
  return documentOf(
    "A password is needed",
    `<header><h1>A password is needed</h1><p>Whoever gave you this address has it.</p></header>${bad}
<form class="password" method="post" action="${escape(action)}">
<input type="password" name="password" aria-label="Password" required autofocus autocomplete="off">
<button class="main">Open</button></form>`,
  );
}

/** What is shown of a place in a share. */
export type Shown = {
  readonly share: Share;
  /** "/s/SECRET". */
  readonly root: string;
  /** Names from the top of the share to what is shown. */
  readonly names: readonly string[];
  /** What the top of it is called. */
  readonly title: string;
  /** What is shown, when it is a file. */
  readonly file: Version | undefined;
  readonly entries: readonly Version[];
  /** Where the next part of a long directory is. */
  readonly more: string | undefined;
  readonly isUsedUp: boolean;
};

export function sharePage(shown: Shown): string {
  const { share, title, file } = shown;
  const isOpen = mayDownload(share) && !shown.isUsedUp;
  const note = share.note === "" ? "" : `<p class="note">${escape(share.note)}</p>`;
  const facts = [...factsOf(shown)].map((fact) => `<p>${escape(fact)}</p>`).join("");
  const actions = isOpen ? actionsOf(shown) : "";
  const list = isOpen && file === undefined ? listOf(shown) : "";
  const upload = mayUpload(share) && file === undefined ? UPLOAD : "";
  return documentOf(title, `<header><h1>${headOf(shown)}</h1>${note}${facts}${actions}</header>${list}${upload}`);
}

const UPLOAD = `<div class="drop"><p>Drop files here, or</p><button class="main" type="button">Choose files</button>
<input type="file" multiple aria-label="Files"></div><ul aria-live="polite"></ul>`;

const urlOf = (root: string, names: readonly string[]): string => [root, ...names.map(percentEncode)].join("/");

/** The way down, each part a link to itself. */
function headOf({ root, names, title }: Shown): string {
  const parts = [title, ...names].map((name, at, all) => {
    const text = escape(printablePath(name));
    return at === all.length - 1 ? text : `<a href="${urlOf(root, names.slice(0, at))}">${text}</a>`;
  });
  return parts.join(" <span>/</span> ");
}

function* factsOf({ share, file, isUsedUp }: Shown): Generator<string> {
  if (file?.entry?.kind === "file") yield `${sizeText(file.entry.size)}, changed ${timeText(file)}`;
  if (isUsedUp) yield "It has been downloaded as often as it may be.";
  else if (share.downloadsMax !== undefined && mayDownload(share)) {
    const left = share.downloadsMax - share.downloads;
    yield `${left} ${left === 1 ? "download is" : "downloads are"} left.`;
  }
  if (share.expiresMs !== undefined) yield `Open until ${new Date(share.expiresMs).toISOString().slice(0, 16).replace("T", " ")} UTC.`;
}

function actionsOf({ root, names, file, entries }: Shown): string {
  const url = urlOf(root, names);
  const buttons =
    file !== undefined
      ? `<a class="button main" href="${url}?download">Download</a>`
      : entries.length === 0
        ? ""
        : `<a class="button main" href="${url}?archive=zip">Download all (zip)</a>
<a class="button" href="${url}?archive=tar">As tar</a>`;
  return buttons === "" ? "" : `<div class="actions">${buttons}</div>`;
}

const LIST_HEAD =
  '<thead><tr><th scope="col">Name</th><th scope="col" class="size">Size</th>' +
  '<th scope="col" class="time">Changed (UTC)</th></tr></thead>';

function listOf({ root, names, entries, more }: Shown): string {
  if (entries.length === 0 && more === undefined) return '<p class="empty">Nothing is in it.</p>';
  const rows = entries.map((version) => {
    const name = nameOf(version.path);
    const isDir = version.entry?.kind === "dir";
    const url = urlOf(root, [...names, name]);
    const size = version.entry?.kind === "file" ? sizeText(version.entry.size) : "";
    const inside = `${isDir ? FOLDER : FILE}<span>${escape(printablePath(name))}</span>`;
    const link = `<a${isDir ? ' class="dir"' : ""} href="${url}">${inside}</a>`;
    return `<tr><td class="name">${link}</td><td class="size">${size}</td><td class="time">${isDir ? "" : timeText(version)}</td></tr>`;
  });
  const url = `${urlOf(root, names)}?after=${more}`;
  const next = more === undefined ? "" : `<p class="more"><a class="button" href="${url}">Show more</a></p>`;
  return `<table>${LIST_HEAD}<tbody>${rows.join("")}</tbody></table>${next}`;
}

function sizeText(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let value = bytes / 1000;
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at++;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

function timeText({ entry }: Version): string {
  const date = new Date(entry?.kind === "file" ? Number(entry.mtimeNs / 1_000_000n) : Number.NaN);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}

/** What the page of a share looks like and does. Files of the hub's own, so that the page may allow nothing else. */

export const SHARE_STYLE = `
:root { color-scheme: light dark; --back: #f4f5f7; --card: #fff; --text: #1c2024; --soft: #60646c; --line:
  #e3e5e9; --accent: #0b6bcb; --accent-text: #fff; --accent-soft: #e8f1fb; --bad: #c0271f; --shadow: 0 1px
  3px #0001, 0 8px 28px #0000000f; }
@media (prefers-color-scheme: dark) { :root { --back: #111315; --card: #1a1d20; --text: #edeef0; --soft:
  #a0a6ae; --line: #2d3136; --accent: #4c9df0; --accent-text: #08121d; --accent-soft: #16293d; --bad:
  #ff8f87; --shadow: none; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; background: var(--back); color: var(--text); display: flex;
  flex-direction: column; align-items: center; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans", sans-serif; padding: clamp(12px, 4vw, 56px) 12px; }
main { width: 100%; max-width: 760px; background: var(--card); border: 1px solid var(--line); border-radius:
  14px; box-shadow: var(--shadow); overflow: hidden; }
header { padding: 24px clamp(16px, 4vw, 28px) 18px; border-bottom: 1px solid var(--line); }
h1 { font-size: 1.3rem; line-height: 1.3; margin: 0; overflow-wrap: anywhere; font-weight: 650;
  letter-spacing: -0.01em; }
h1 a { color: inherit; text-decoration: none; }
h1 a:hover { text-decoration: underline; }
h1 span { color: var(--soft); font-weight: 400; }
p { margin: 6px 0 0; color: var(--soft); overflow-wrap: anywhere; }
p.note { color: var(--text); white-space: pre-line; }
.actions { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 16px; }
a.button, button { appearance: none; border: 1px solid var(--line); background: transparent; color:
  var(--text); border-radius: 9px; cursor: pointer; padding: 8px 16px; font: inherit; font-weight: 550;
  text-decoration: none; display: inline-block; }
a.main, button.main { background: var(--accent); border-color: var(--accent); color: var(--accent-text); }
a.button:hover, button:hover { filter: brightness(1.06); border-color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th:first-child { width: 100%; }
th { font-size: .8rem; font-weight: 550; color: var(--soft); text-align: left; padding: 10px 8px 6px; }
td { border-top: 1px solid var(--line); padding: 9px 8px; vertical-align: middle; }
th:first-child, td:first-child { padding-left: clamp(16px, 4vw, 28px); }
th:last-child, td:last-child { padding-right: clamp(16px, 4vw, 28px); }
td.name { overflow-wrap: anywhere; }
td.name a { color: var(--text); text-decoration: none; display: flex; gap: 10px; align-items: center; }
td.name a:hover { color: var(--accent); }
td.name svg { flex: none; width: 18px; height: 18px; color: var(--soft); }
td.name a.dir svg { color: var(--accent); }
th.size, td.size, th.time, td.time { white-space: nowrap; color: var(--soft); text-align: right; }
.empty, .more { padding: 22px clamp(16px, 4vw, 28px); color: var(--soft); margin: 0; }
.drop { margin: 18px clamp(16px, 4vw, 28px) 22px; border: 2px dashed var(--line); border-radius: 12px;
  padding: 26px 16px; text-align: center; }
.drop.over { border-color: var(--accent); background: var(--accent-soft); }
.drop p { margin: 0 0 12px; }
.drop input { display: none; }
ul:empty { display: none; }
ul { list-style: none; margin: 0; padding: 0 clamp(16px, 4vw, 28px) 20px; }
li { padding: 7px 0; display: grid; grid-template-columns: 1fr auto; gap: 2px 12px; }
li span { overflow-wrap: anywhere; }
li em { font-style: normal; color: var(--soft); font-size: .9rem; }
li.bad em { color: var(--bad); }
progress { grid-column: 1 / -1; width: 100%; height: 6px; border: 0; border-radius: 3px; overflow: hidden;
  background: var(--line); accent-color: var(--accent); }
progress::-webkit-progress-bar { background: var(--line); }
progress::-webkit-progress-value { background: var(--accent); border-radius: 3px; }
progress::-moz-progress-bar { background: var(--accent); }
form.password { display: flex; flex-wrap: wrap; gap: 10px; padding: 20px clamp(16px, 4vw, 28px) 26px; }
form.password input { flex: 1 1 200px; min-width: 0; font: inherit; padding: 8px 12px; border-radius: 9px;
  border: 1px solid var(--line); background: var(--back); color: var(--text); }
.bad { color: var(--bad); }
p.bad { padding: 16px clamp(16px, 4vw, 28px) 0; margin: 0; color: var(--bad); }
@media (max-width: 560px) { th.time, td.time { display: none; } th.size, td.size { padding-right: 16px; } }
`;

/** Uploads one file after the other, each as it is, with what has been sent so far. */
export const SHARE_SCRIPT = `"use strict";
(() => {
  const drop = document.querySelector(".drop");
  const list = document.querySelector("ul");
  if (!drop || !list) return;
  const input = drop.querySelector("input");
  const base = location.pathname.replace(/\\/?$/, "/");
  const waiting = [];
  let isBusy = false;
  const add = (tag, parent, text) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const send = ({ file, name, row, state, bar }) => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("PUT", base + name.split("/").map(encodeURIComponent).join("/"));
    request.setRequestHeader("accept", "application/json");
    const changed = new Date(file.lastModified);
    if (!Number.isNaN(changed.getTime())) request.setRequestHeader("x-syncline-mtime", changed.toISOString());
    const end = (text, isBad) => {
      state.textContent = text;
      row.className = isBad ? "bad" : "";
      bar.remove();
      resolve();
    };
    request.upload.onprogress = (event) => {
      bar.value = event.total > 0 ? event.loaded / event.total : 1;
      state.textContent = Math.floor(bar.value * 100) + " %";
    };
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch {}
      if (request.status !== 201) return end(answer.detail || "refused (" + request.status + ")", true);
      const kept = answer.name === name ? "done" : "done, kept as " + answer.name;
      end(kept, false);
    };
    request.onerror = () => end("the connection broke off; nothing of it was kept", true);
    request.send(file);
  });
  const work = async () => {
    if (isBusy) return;
    isBusy = true;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await send(next);
    isBusy = false;
  };
  const take = (files) => {
    for (const file of files) {
      const name = file.webkitRelativePath || file.name;
      const row = add("li", list);
      add("span", row, name);
      const state = add("em", row, "waits");
      const bar = add("progress", row);
      bar.value = 0;
      waiting.push({ file, name, row, state, bar });
    }
    void work();
  };
  drop.querySelector("button").addEventListener("click", () => input.click());
  input.addEventListener("change", () => { take(input.files); input.value = ""; });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); drop.classList.remove("over"); take(event.dataTransfer.files); });
  addEventListener("beforeunload", (event) => { if (isBusy) event.preventDefault(); });
})();
`;

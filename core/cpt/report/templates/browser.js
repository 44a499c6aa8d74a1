"use strict";
// The pair browser: search, filter, flags. Texts only ever become text nodes.
(async () => {
  const packed = document.getElementById("browser-data");
  const place = document.getElementById("browser");
  if (!packed || !place || !("DecompressionStream" in window)) return;
  const bytes = Uint8Array.from(atob(packed.textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const pairs = JSON.parse(await new Response(stream).text());
  const PAGE = 10, LONGEST = 700, FLAGS = ["keep", "drop", "swap"];
  const KEY = "cpt-flags " + place.dataset.run;
  const flags = new Map(remembered());
  let found = pairs, page = 0;

  const element = (name, properties = {}, ...inside) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...inside);
    return made;
  };
  // What no reader sees, or what turns the reading direction, is shown by its code.
  const visible = (text) => text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (sign) => "\\u" + sign.charCodeAt(0).toString(16).padStart(4, "0"));
  const words = (text) => text.match(/\s+|[\u3040-\u30ff\u3400-\u9fff]|[\p{L}\p{N}_]+|[^\p{L}\p{N}_\s]/gu) || [];

  function remembered() {
    try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; }
  }
  function remember() {
    try { localStorage.setItem(KEY, JSON.stringify([...flags])); } catch { /* a private window */ }
  }
  function unshared(one, other) {  // For each word of both, whether the other has it at that place.
    const wide = other.length + 1, table = new Uint16Array((one.length + 1) * wide);
    for (let row = one.length - 1; row >= 0; row--)
      for (let column = other.length - 1; column >= 0; column--)
        table[row * wide + column] = one[row] === other[column]
          ? table[(row + 1) * wide + column + 1] + 1
          : Math.max(table[(row + 1) * wide + column], table[row * wide + column + 1]);
    const marks = [one.map(() => true), other.map(() => true)];
    for (let row = 0, column = 0; row < one.length && column < other.length;) {
      if (one[row] === other[column]) marks[0][row++] = marks[1][column++] = false;
      else if (table[(row + 1) * wide + column] >= table[row * wide + column + 1]) row++;
      else column++;
    }
    return marks;
  }
  function content(text, marks, ownWords) {
    const box = element("div", { className: "content", dir: "auto" });
    if (!marks) box.append(visible(text));
    else ownWords.forEach((word, at) =>
      box.append(marks[at] && word.trim() ? element("mark", {}, visible(word)) : visible(word)));
    return box;
  }
  function sides(pair) {
    const texts = [pair.chosen, pair.rejected].map(words);
    const short = texts.every((text) => text.length <= LONGEST);
    const marks = short ? unshared(...texts) : [];
    return ["chosen", "rejected"].map((side, at) => element("div", { className: side },
      element("h4", {}, [side, pair[side + "_author"] && "by " + visible(pair[side + "_author"]),
        pair[side + "_score"] != null && "score " + pair[side + "_score"]].filter(Boolean).join(", ")),
      content(pair[side], marks[at], texts[at])));
  }
  function flagged(pair, change) {
    const now = { flag: "", note: "", ...flags.get(pair.id), ...change };
    if (now.flag || now.note) flags.set(pair.id, now); else flags.delete(pair.id);
    remember();
    count();
  }
  function controls(pair) {
    const box = element("p", { className: "flags" });
    const note = element("input", { type: "text", placeholder: "note", value: flags.get(pair.id)?.note || "" });
    note.setAttribute("aria-label", "Note on " + pair.id);
    note.onchange = () => flagged(pair, { note: note.value });
    const buttons = FLAGS.map((flag) => {
      const button = element("button", { type: "button" }, flag);
      button.onclick = () => {
        flagged(pair, { flag: flags.get(pair.id)?.flag === flag ? "" : flag });
        press();
      };
      return button;
    });
    const press = () => buttons.forEach((button, at) =>
      button.setAttribute("aria-pressed", String(flags.get(pair.id)?.flag === FLAGS[at])));
    press();
    box.append(...buttons, note);
    return box;
  }
  function shown(pair) {
    const facts = [pair.id, pair.tier && "tier " + pair.tier, pair.margin != null && "margin " + Number(pair.margin.toPrecision(4)),
      pair.pairer].filter(Boolean).map((fact) => visible(String(fact))).join(", ");
    const prompt = pair.prompt.flatMap(([role, text]) =>
      [...(pair.prompt.length > 1 ? [element("h4", {}, visible(role))] : []), content(text)]);
    const why = pair.rationale ? [element("h4", {}, "rationale"), content(pair.rationale)] : [];
    return element("article", {}, element("h4", {}, facts), ...prompt,
      element("div", { className: "sides" }, ...sides(pair)), ...why, controls(pair));
  }

  const search = element("input", { type: "search", placeholder: "Search prompts, answers, ids" });
  search.setAttribute("aria-label", "Search the pairs");
  const selects = [
    choice("authors", (pair) => `${pair.chosen_author} > ${pair.rejected_author}`),
    choice("tier", (pair) => String(pair.tier)),
    choice("pairer", (pair) => pair.pairer),
  ];
  const which = element("select", {}, ...["all pairs", "flagged", ...FLAGS, "not flagged"].map((name) => element("option", {}, name)));
  which.setAttribute("aria-label", "By flag");
  const status = element("p", { className: "soft" });
  status.setAttribute("role", "status");
  const list = element("div");
  const back = element("button", { type: "button" }, "Back"), next = element("button", { type: "button" }, "Next");
  const save = element("button", { type: "button" });
  const load = element("input", { type: "file", accept: ".jsonl" });
  load.setAttribute("aria-label", "Load flags from a file");

  function choice(name, of) {
    const values = [...new Set(pairs.map(of))].sort().slice(0, 200);
    const select = element("select", {}, element("option", { value: "" }, `any ${name}`),
      ...values.map((value) => element("option", { value }, visible(value || "unknown"))));
    select.setAttribute("aria-label", `By ${name}`);
    select.hidden = values.length < 2;
    return Object.assign(select, { fits: (pair) => !select.value || of(pair) === select.value });
  }
  function fitsFlag(pair) {
    const flag = flags.get(pair.id)?.flag || "";
    return { "all pairs": true, flagged: Boolean(flag), "not flagged": !flag }[which.value] ?? flag === which.value;
  }
  function filter() {
    const text = search.value.toLowerCase();
    found = pairs.filter((pair) => fitsFlag(pair) && selects.every((select) => select.fits(pair)) &&
      (!text || textOf(pair).includes(text)));
    page = 0;
    render();
  }
  const textOf = (pair) => pair.text ??= [pair.id, pair.chosen, pair.rejected, pair.rationale,
    ...pair.prompt.map(([, text]) => text)].join("\n").toLowerCase();
  function render() {
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(shown));
    back.disabled = !page;
    next.disabled = (page + 1) * PAGE >= found.length;
    count();
  }
  function count() {
    const first = found.length ? page * PAGE + 1 : 0;
    status.textContent = `${first}–${Math.min((page + 1) * PAGE, found.length)} of ${found.length} found, ` +
      `of ${pairs.length} pairs here.`;
    save.textContent = `Save ${flags.size} flags`;
    save.disabled = !flags.size;
  }
  function turn(by) {
    page += by;
    render();
    place.scrollIntoView();
  }
  save.onclick = () => {
    const lines = [...flags].map(([pair_id, { flag, note }]) => JSON.stringify({ pair_id, flag: flag || "keep", note }) + "\n");
    const link = element("a", { href: URL.createObjectURL(new Blob(lines)), download: "flags.jsonl" });
    link.click();
  };
  load.onchange = async () => {
    for (const line of (await load.files[0].text()).split("\n").filter(Boolean)) {
      try {
        const { pair_id, flag, note } = JSON.parse(line);
        if (FLAGS.includes(flag)) flags.set(String(pair_id), { flag, note: String(note || "") });
      } catch { /* a line that is none */ }
    }
    remember();
    filter();
  };
  search.oninput = which.onchange = filter;
  selects.forEach((select) => select.onchange = filter);
  back.onclick = () => turn(-1);
  next.onclick = () => turn(1);
  place.append(element("p", { className: "find" }, search, ...selects, which), status, list,
    element("p", { className: "find" }, back, next, save, element("label", {}, "Load flags ", load)));
  place.hidden = false;
  filter();
})();

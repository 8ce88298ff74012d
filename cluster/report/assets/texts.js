// Texts of a run: drawn as text nodes only. Characters that move, hide or colour other text are shown by their names.
const texts = (() => {
  const NAMES = new Map(Object.entries({
    "\u0000": "NUL", "\u0007": "BEL", "\b": "BS", "\r": "CR", "\u001b": "ESC", "\u007f": "DEL", "\u0085": "NEL", "\u009b": "CSI",
    "\u00ad": "SHY", "\u061c": "ALM", "\u180e": "MVS", "\u200b": "ZWSP", "\u200e": "LRM", "\u200f": "RLM", "\u2028": "LS", "\u2029": "PS",
    "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO", "\u202e": "RLO", "\u2060": "WJ", "\u2066": "LRI", "\u2067": "RLI",
    "\u2068": "FSI", "\u2069": "PDI", "\ufeff": "BOM", "\ufffc": "OBJ",
  }));
  const MARKS = new RegExp("\\r(?!\\n)|[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f"
    + "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\uffff\\ud800-\\udfff\\u{e0000}-\\u{e007f}]", "gu");
  const FIRST = 6000, MORE = 60000, AROUND = 400;  // characters drawn at once, on demand, and around a hit

  const node = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const code = mark => "U+" + mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

  function marked(parent, text) {
    let from = 0;
    for (const found of text.matchAll(MARKS)) {
      if (found.index > from) parent.append(text.slice(from, found.index));
      const mark = parent.appendChild(node("span", "mark", NAMES.get(found[0]) ?? code(found[0])));
      mark.title = code(found[0]);
      from = found.index + found[0].length;
    }
    if (from < text.length) parent.append(text.slice(from));
  }

  // `find` is a global regular expression, or null.
  function draw(parent, text, find) {
    let from = 0;
    for (const found of find ? text.matchAll(find) : []) {
      marked(parent, text.slice(from, found.index));
      marked(parent.appendChild(node("mark", "hit")), found[0]);
      from = found.index + found[0].length;
    }
    marked(parent, text.slice(from));
  }

  // Never between the two halves of a character.
  const whole = (text, place) => /[\udc00-\udfff]/.test(text[place] ?? "") && place > 0 ? place - 1 : place;
  const count = number => number.toLocaleString("en");

  // Long texts are drawn in windows with gaps between them that open on demand.
  function long(text, find, first = FIRST) {
    const box = node("div", "text");
    box.dir = "auto";
    const hit = find ? text.search(new RegExp(find.source, find.flags.replace("g", ""))) : -1;
    const windows = [[0, Math.min(text.length, first)]];
    if (hit + AROUND > first && hit >= 0) windows.push([Math.max(first, hit - AROUND), Math.min(text.length, hit + first)]);
    const redraw = () => {
      box.replaceChildren();
      windows.forEach((window, place) => {
        const next = windows[place + 1]?.[0] ?? text.length;
        window[1] = Math.min(window[1], next);
        draw(box, text.slice(whole(text, window[0]), whole(text, window[1])), find);
        if (window[1] < next) box.append(gap(window, next));
      });
    };
    const gap = (window, next) => {
      const left = next - window[1], line = node("div", "gap");
      line.append(node("span", "quiet", `${count(left)} of ${count(text.length)} characters are folded`));
      const opens = (label, size) => {
        const button = line.appendChild(node("button", "", label));
        button.type = "button";
        button.onclick = () => { window[1] += size; redraw(); };
      };
      if (left > MORE) opens(`show ${count(MORE)} more`, MORE);
      opens("show all", left);
      return line;
    };
    redraw();
    return box;
  }

  // A text of a row: whole, or without its middle, or no text at all.
  function value(found, find, first) {
    if (typeof found === "string") return long(found, find, first);
    if (found && typeof found === "object" && "left_out" in found && "head" in found) {
      const box = node("div", "cut");
      box.append(long(found.head, find, first));
      box.append(node("div", "gap quiet", `${count(found.left_out)} characters are not in this report: the file in responses/ has them`));
      box.append(long(found.tail, find, first));
      return box;
    }
    return long(found === null || found === undefined ? "–" : JSON.stringify(found, null, 1), find, first);
  }

  // All that can be searched in a value of JSON.
  function words(found) {
    if (typeof found === "string") return found;
    if (found === null || found === undefined) return "";
    return typeof found === "object" ? Object.values(found).map(words).join("\n") : String(found);
  }

  // The marks of chat templates in use; the groups are the role and the words.
  const FORMS = [
    /<\|im_start\|>([^\n<]*)\n([\s\S]*?)(?:<\|im_end\|>\n?|$)/g,
    /<\|start_header_id\|>([^<]*)<\|end_header_id\|>\n*([\s\S]*?)(?:<\|eot_id\|>|$)/g,
    /<start_of_turn>([^\n<]*)\n([\s\S]*?)(?:<end_of_turn>\n?|$)/g,
    /<\|start\|>([^<]*)(?:<\|channel\|>[^<]*)?<\|message\|>([\s\S]*?)(?:<\|(?:end|return|call)\|>|$)/g,
    /<\|(system|user|assistant|observation|tool)\|>\n?([\s\S]*?)(?:<\|end\|>\n?|(?=<\|(?:system|user|assistant|observation|tool)\|>)|$)/g,
    /<[｜|](System|User|Assistant)[｜|]>([\s\S]*?)(?=<[｜|](?:System|User|Assistant)[｜|]>|$)/g,
    /(\[INST\])([\s\S]*?)\[\/INST\]/g,
  ];
  const LONGEST = 400000;  // characters of a prompt that is looked at for marks

  // The turns of a prompt: [{role, words}]; one without a role where no known template made it.
  function turns(prompt) {
    if (typeof prompt !== "string" || prompt.length > LONGEST) return [{role: "", words: prompt}];
    for (const form of FORMS) {
      const found = [...prompt.matchAll(form)];
      if (!found.length) continue;
      const made = [];
      let from = 0;
      const between = until => {
        const rest = prompt.slice(from, until);
        if (rest.trim()) made.push({role: form === FORMS.at(-1) && made.length ? "assistant" : "", words: rest});
      };
      for (const one of found) {
        between(one.index);
        from = one.index + one[0].length;
        const role = one[1] === "[INST]" ? "user" : one[1].trim();
        if (one[2].trim()) made.push({role, words: one[2].replace(/\n+$/, "")});
      }
      between(prompt.length);
      return made;
    }
    return [{role: "", words: prompt}];
  }

  // A pattern that finds typed words in any case, however their accents are composed; null for none.
  const quoted = words => words.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&");
  const pattern = typed => typed ? new RegExp([...new Set(["NFC", "NFD"].map(form => quoted(typed.normalize(form))))].join("|"), "giu") : null;

  return {node, draw, long, value, words, turns, pattern, count};
})();

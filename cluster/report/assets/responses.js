// The page "Responses": filters, the list, and the response that is chosen, alone or beside its group.
report.page("responses", (runs, root) => {
  const {node, count} = texts;
  const PAGE = 50, SHORT = 1500;  // rows of a page of the list; characters of a response beside others
  const form = root.querySelector(".filters"), list = root.querySelector(".list"), detail = root.querySelector(".detail");
  const browse = root.querySelector(".browse"), pager = root.querySelector(".pager"), found = root.querySelector(".found");
  const field = form.elements;
  let run = null, shown = [], first = 0, chosen = -1, find = null, kind = "logprob", turn = 0;

  // A live report puts a new page in the place of this one: then nothing of it may listen any more.
  const listening = new AbortController(), {signal} = listening;

  // A run's columns with where each row's text and token numbers are.
  const opened = new Map();
  function open(place) {
    if (opened.has(place)) return opened.get(place);
    const data = runs[place], columns = data.columns;
    const chunkOf = [], placeOf = [], tokensOf = new Map(), rowOf = new Map();
    data.chunks.forEach((size, chunk) => { for (let i = 0; i < size; i++) { chunkOf.push(chunk); placeOf.push(i); } });
    for (const [block, names] of Object.entries(data.tokens)) for (const name of names) tokensOf.set(name, block);
    const name = row => `${columns.step[row]}/${columns.group[row]}/${columns.member[row]}`;
    columns.step.forEach((_, row) => rowOf.set(name(row), row));
    const fetched = new Map();
    const fetch = key => { if (!fetched.has(key)) fetched.set(key, report.more("responses", key)); return fetched.get(key); };
    const made = {place, ...data, columns, size: columns.step.length, name, rowOf, chunkOf,
      chunk: number => fetch(`${place}-texts-${number}`),
      text: async row => (await fetch(`${place}-texts-${chunkOf[row]}`))[placeOf[row]],
      hasTokens: row => tokensOf.has(name(row)),
      tokens: async row => (await fetch(tokensOf.get(name(row))))[name(row)]};
    opened.set(place, made);
    return made;
  }

  const number = value => value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString();
  const signed = value => value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + number(value).replace("-", "−");
  const tone = value => value === null || value === undefined ? "none" : value > 0 ? "up" : value < 0 ? "down" : "";

  function fact(parent, name, value, className = "") {
    const made = parent.appendChild(node("span", "", `${name} `));
    made.append(node("b", className, value));
  }

  // ---- filters
  const bound = name => field[name].value === "" ? null : Number(field[name].value);
  function within(name, value) {
    const low = bound(`${name}_low`), high = bound(`${name}_high`);
    return low === null && high === null || value !== null && (low === null || value >= low) && (high === null || value <= high);
  }
  function passes(row) {
    const c = run.columns;
    return within("step", c.step[row]) && within("reward", c.reward[row]) && within("tokens", c.tokens[row])
      && (!field.outcome.value || (c.outcome[row] ?? "unknown") === field.outcome.value)
      && (!field.finish.value || (c.finish[row] ?? "unknown") === field.finish.value)
      && (!field.shaded.checked || run.hasTokens(row));
  }
  function ordered(rows) {
    const [, down, name] = field.order.value.match(/(-?)(\w+)/), column = run.columns[name];
    if (name === "step" && !down) return rows;
    const key = row => column[row] === null || column[row] === undefined ? -Infinity : down ? column[row] : -column[row];
    return rows.sort((a, b) => key(b) === key(a) ? a - b : key(b) - key(a));
  }

  async function search(toChosen) {
    const mine = ++turn;
    find = texts.pattern(field.words.value.trim());
    const ofPrompt = texts.pattern(field.prompt.value.trim()), prompts = run.prompts.map(words => !ofPrompt || words.some(one => one.search(ofPrompt) >= 0));
    let rows = [];
    for (let row = 0; row < run.size; row++) if (passes(row)) rows.push(row);
    if (ofPrompt) rows = await withWords(rows, ofPrompt, row => prompts[run.columns.prompt[row]], one => texts.words([one.prompt_id, one.prompt, one.question]), mine);
    if (find && rows) rows = await withWords(rows, find, () => false, texts.words, mine);
    if (mine !== turn || !rows) return;  // a newer search has begun
    shown = ordered(rows);
    first = toChosen ? PAGE * Math.floor(Math.max(0, shown.indexOf(chosen)) / PAGE) : 0;
    found.textContent = `${count(shown.length)} of ${count(run.size)} responses`;
    drawList();
    await choose(shown.includes(chosen) ? chosen : shown[0] ?? -1);
  }

  // The rows that `at once` accepts, or else whose text has the words; null where a newer search has begun meanwhile.
  async function withWords(rows, pattern, atOnce, wordsOf, mine) {
    const once = new RegExp(pattern.source, pattern.flags.replace("g", "")), kept = [];
    let told = -1;
    for (const row of rows) {
      if (!atOnce(row)) {
        if (run.chunkOf[row] !== told) {
          told = run.chunkOf[row];
          found.textContent = `searching … ${count(row)} of ${count(run.size)}`;
          await run.chunk(told);
          if (mine !== turn) return null;
        }
        if (!once.test(wordsOf(await run.text(row)))) continue;
      }
      kept.push(row);
    }
    return kept;
  }

  // ---- the list
  function drawList() {
    const c = run.columns;
    list.replaceChildren(...shown.slice(first, first + PAGE).map(row => {
      const item = node("li"), button = item.appendChild(node("button")), facts = button.appendChild(node("span", "facts"));
      button.type = "button";
      button.dataset.row = row;
      facts.append(node("b", "", `step ${c.step[row]}`), node("span", "", `group ${c.group[row] ?? "–"}.${c.member[row] ?? "–"}`));
      fact(facts, "reward", c.reward[row] === null ? c.outcome[row] ?? "none" : number(c.reward[row]), tone(c.reward[row]));
      if (c.advantage[row] !== null) fact(facts, "adv", signed(c.advantage[row]), tone(c.advantage[row]));
      facts.append(node("span", "", `${c.tokens[row] === null ? "–" : count(c.tokens[row])} tokens`));
      if (c.finish[row] && c.finish[row] !== "stop") facts.append(node("span", "none", c.finish[row] === "length" ? "cut off" : c.finish[row]));
      if (run.hasTokens(row)) facts.append(node("span", "", "◧ tokens"));
      for (const [name, words] of [["line asked", run.prompts[c.prompt[row]][1]], ["line", c.start[row]]]) {
        const line = button.appendChild(node("span", name));
        line.dir = "auto";
        texts.draw(line, words || " ", null);
      }
      button.onclick = () => choose(row).then(() => { if (narrow()) detail.scrollIntoView(); });
      return item;
    }));
    const pages = Math.ceil(shown.length / PAGE), page = first / PAGE;
    const turns = (label, to) => {
      const button = node("button", "", label);
      button.type = "button";
      button.disabled = to < 0 || to >= pages;
      button.onclick = () => { first = to * PAGE; drawList(); list.scrollIntoView({block: "nearest"}); };
      return button;
    };
    pager.hidden = pages < 2;
    pager.replaceChildren(turns("‹", page - 1), node("span", "", `page ${count(page + 1)} of ${count(pages)}`), turns("›", page + 1));
    mark();
  }
  const narrow = () => getComputedStyle(browse).gridTemplateColumns.split(" ").length === 1;
  function mark() {
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-current", Number(button.dataset.row) === chosen);
  }

  // ---- one response
  const address = row => `#responses/${run.place}/${run.name(row)}`;
  async function choose(row) {
    chosen = row;
    mark();
    browse.classList.remove("whole-group");
    if (row < 0) return void detail.replaceChildren(node("p", "quiet", run.size ? "No response has all of this." : "This run has kept no responses: run.sample_responses says how many of each step."));
    if (location.hash.startsWith("#responses")) history.replaceState(null, "", address(row));  // not while another tab is read
    const mine = run, text = await run.text(row), shades = run.hasTokens(row) ? await run.tokens(row) : null;
    if (chosen !== row || mine !== run) return;
    const c = run.columns, facts = node("div", "facts");
    fact(facts, "reward", c.reward[row] === null ? "none" : number(c.reward[row]), tone(c.reward[row]));
    fact(facts, "advantage", c.advantage[row] === null && !("advantage" in text) ? "not recorded" : c.advantage[row] === null ? "not learned" : signed(c.advantage[row]), tone(c.advantage[row]));
    fact(facts, "tokens", c.tokens[row] === null ? "–" : count(c.tokens[row]));
    const rest = {outcome: c.outcome[row], "ended by": c.finish[row], engine: c.engine[row],
      "weights of step": c.oldest[row] === c.newest[row] ? c.oldest[row] : `${c.oldest[row]} to ${c.newest[row]}`,
      prompt: text.prompt_id, row: text.row, checker: text.checker, source: text.source};
    for (const [name, value] of Object.entries(rest)) if (value !== null && value !== undefined && value !== "") fact(facts, name, texts.words(value).slice(0, 300));
    const buttons = node("div", "bar-of"), place = shown.indexOf(row);
    const up = buttons.appendChild(node("button", "to-list", "↑ list"));
    up.type = "button";
    up.onclick = () => list.querySelector('[aria-current="true"]')?.scrollIntoView({block: "center"});
    step(buttons, "‹ before", place - 1);
    step(buttons, "next ›", place + 1);
    const group = members(row, text);
    if (group.length > 1) {
      const button = buttons.appendChild(node("button", "side", `the group side by side (${group.length})`));
      button.type = "button";
      button.onclick = () => beside(row, text, group);
    }
    detail.replaceChildren(heading(row), facts, buttons);
    if (group.length > 1) detail.append(strip(row, group));
    if (text.failure) detail.append(section("Why it has no reward", texts.value(text.failure, find)));
    detail.append(section("Prompt", ...prompt(text)));
    if (shades) detail.append(section("Response, token by token", tokens.view(shades, kind, now => { kind = now; })));
    detail.append(section("Response", ...response(text)));
    if (text.reference !== undefined) detail.append(section("Reference", texts.value(text.reference, find)));
    if (text.parts && Object.keys(text.parts).length) detail.append(section("Parts of the reward", table(text.parts)));
    for (const [name, words] of Object.entries(text.words || {})) detail.append(section(`Words of ${name}`, texts.value(words, find)));
    if (text.columns) detail.append(section("Columns", texts.value(text.columns, find)));
  }
  const heading = row => node("h2", "", `Step ${run.columns.step[row]}, group ${run.columns.group[row] ?? "–"}, response ${run.columns.member[row] ?? "–"}`);
  function section(title, ...parts) {
    const box = node("section");
    box.append(node("h3", "", title), ...parts);
    return box;
  }
  function step(parent, label, place) {
    const button = parent.appendChild(node("button", "", label));
    button.type = "button";
    button.disabled = place < 0 || place >= shown.length;
    button.onclick = () => { first = PAGE * Math.floor(place / PAGE); choose(shown[place]); drawList(); };
  }
  function said(kindOf, who, words, short) {
    const box = node("div", `turn ${kindOf}`);
    box.append(node("div", "who", who), texts.value(words, find, short));
    return box;
  }
  const prompt = text => texts.turns(text.prompt ?? text.question).map(one => said(one.role === "assistant" ? "model" : "", one.role, one.words));
  function response(text, short) {
    if (!Array.isArray(text.turns) || !text.turns.length) return [said("model", "", text.response, short)];
    return text.turns.flatMap((one, place) => {
      const numbers = [["reward", one.reward], ["advantage", one.advantage]].filter(([, value]) => typeof value === "number").map(([name, value]) => `${name} ${signed(value)}`);
      const calls = one.tool_calls ? [`${one.tool_calls} tool ${one.tool_calls === 1 ? "call" : "calls"}${one.tool_errors ? `, ${one.tool_errors} wrong` : ""}`] : [];
      const made = [said("model", [`model, turn ${place + 1}`, ...calls, ...numbers].join(" · "), one.said, short)];
      if (Array.isArray(one.rewritten)) made.push(...one.rewritten.map(message => said("answer", `new context · ${message?.role ?? ""}`, message?.content ?? message, short)));
      else if (one.answered !== null && one.answered !== undefined) made.push(said("answer", [one.role || "answer", ...(one.cut ? ["cut"] : [])].join(" · "), one.answered, short));
      return made;
    });
  }
  function table(parts) {
    const made = node("table", "parts");
    for (const [name, value] of Object.entries(parts)) {
      const line = made.insertRow();
      texts.draw(line.insertCell(), name, null);
      line.insertCell().textContent = typeof value === "number" ? number(value) : texts.words(value) || "–";
    }
    return made;
  }

  // ---- its group
  function members(row, text) {
    const c = run.columns, rewards = Array.isArray(text.group_rewards) ? text.group_rewards : [];
    const known = new Map();
    for (let other = 0; other < run.size; other++) if (c.step[other] === c.step[row] && c.group[other] === c.group[row] && c.group[row] !== null) known.set(c.member[other], other);
    const names = [...new Set([...rewards.keys(), ...known.keys()])].filter(name => name !== null).sort((a, b) => a - b);
    return names.map(member => {
      const other = known.get(member) ?? -1, of = name => text[`group_${name}`]?.[member];
      return {member, row: other, reward: of("rewards") ?? c.reward[other] ?? null, advantage: of("advantages") ?? c.advantage[other] ?? null,
        tokens: of("tokens") ?? c.tokens[other] ?? null};
    });
  }
  function strip(row, group) {
    const box = node("div", "members");
    for (const one of group) {
      const button = box.appendChild(node("button", one.row < 0 ? "member absent" : "member"));
      button.type = "button";
      button.disabled = one.row < 0;
      button.title = one.row < 0 ? "its text was not kept" : "";
      button.setAttribute("aria-current", one.row === row);
      button.append(node("span", "", `${one.member}: reward ${number(one.reward)}`), node("b", tone(one.advantage), signed(one.advantage)));
      button.onclick = () => choose(one.row);
    }
    return section("Its group: reward and advantage of each", box);
  }
  async function beside(row, text, group) {
    const all = await Promise.all(group.map(one => one.row < 0 ? null : run.text(one.row)));
    const most = Math.max(1e-12, ...group.map(one => Math.abs(one.advantage ?? 0))), versus = node("div", "versus");
    group.forEach((one, place) => {
      const box = versus.appendChild(node("div")), facts = box.appendChild(node("div", "facts")), bar = node("div", "weight"), fill = bar.appendChild(node("i"));
      box.setAttribute("aria-current", one.row === row);
      fact(facts, "response", String(one.member));
      fact(facts, "reward", number(one.reward), tone(one.reward));
      fact(facts, "advantage", signed(one.advantage), tone(one.advantage));
      fact(facts, "tokens", one.tokens === null ? "–" : count(one.tokens));
      fill.style.width = `${50 * Math.abs(one.advantage ?? 0) / most}%`;
      if (one.advantage < 0) fill.className = "minus";
      box.append(bar, ...(all[place] ? response(all[place], SHORT) : [node("p", "quiet", "Its text was not kept.")]));
    });
    const back = node("button", "", "back to the list"), buttons = node("div", "bar-of");
    back.type = "button";
    back.onclick = () => choose(row);
    buttons.append(back);
    browse.classList.add("whole-group");
    detail.replaceChildren(node("h2", "", `Step ${run.columns.step[row]}, group ${run.columns.group[row]}`), buttons, section("Prompt", ...prompt(text)),
      section("Reference", texts.value(text.reference, find)), section("Responses", versus));
    detail.scrollIntoView({block: "nearest"});
  }

  // ---- the run that is looked at
  function take(place) {
    run = open(place);
    chosen = -1;
    root.querySelector(".notes").replaceChildren(...run.notes.map(words => node("p", "note", words)));
    for (const name of ["outcome", "finish"]) {
      const seen = [...new Set(run.columns[name].map(value => value ?? "unknown"))].sort();
      field[name].replaceChildren(new Option("any", ""), ...seen.map(value => new Option(value, value)));
    }
  }
  function follow() {
    const [, place, ...name] = location.hash.slice(1).split("/");
    if (!name.length || !runs[Number(place)]) return false;
    const other = run.place !== Number(place), row = run.rowOf.get(name.join("/")) ?? -1;
    if (other) { field.run.value = place; take(Number(place)); return follow() || true; }
    if (row < 0 || row === chosen) return false;
    chosen = row;
    return true;
  }

  field.run.replaceChildren(...runs.map((one, place) => new Option(one.name, place)));
  root.querySelector(".of-run").hidden = runs.length < 2;
  root.querySelector(".fold").onclick = () => form.classList.toggle("open");
  let waiting = 0;
  form.addEventListener("input", event => {
    if (event.target === field.run) take(Number(field.run.value));
    clearTimeout(waiting);
    waiting = setTimeout(() => search(false), event.target.type === "search" ? 250 : 0);
  });
  form.addEventListener("reset", () => setTimeout(() => { field.run.value = run.place; search(false); }));
  form.addEventListener("submit", event => { event.preventDefault(); search(false); });
  list.addEventListener("keydown", event => {
    const move = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (!move) return;
    event.preventDefault();
    const button = list.querySelector(`[data-row="${chosen}"]`)?.parentElement[move > 0 ? "nextElementSibling" : "previousElementSibling"]?.firstChild;
    button?.focus();
    button?.click();
  });
  addEventListener("hashchange", () => {
    if (!root.isConnected) listening.abort();
    else if (location.hash.startsWith("#responses/") && follow()) search(true);
  }, {signal});
  take(0);
  const linked = follow();
  search(linked).then(() => { if (linked && narrow()) detail.scrollIntoView(); });
});

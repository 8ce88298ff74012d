report.page("compare", (data, root) => {
  const picker = root.querySelector(".picker");
  if (!picker) return;
  const [input, log] = picker.querySelectorAll("input"), chips = picker.querySelector(".chips"), grid = root.querySelector("#compare-charts");
  const shown = new Map();
  const draw = key => {
    const curves = data.map((run, place) => ({run, place, curve: run.curves[key]})).filter(one => one.curve);
    const traces = curves.map(({run, place, curve}) => ({type: "scatter", mode: curve[0].length <= 40 ? "lines+markers" : "lines",
      x: curve[0], y: curve[1], name: run.name, line: {color: report.colour(place), width: 2}, marker: {size: 5}}));
    report.chart(shown.get(key).querySelector(".chart"),
      {data: traces, layout: {showlegend: data.length > 1, yaxis: {type: log.checked ? "log" : "linear", exponentformat: "power"}}});
  };
  const add = key => {
    if (shown.has(key) || !data.some(run => run.curves[key])) return false;
    const card = document.createElement("figure"), title = document.createElement("h3"), space = document.createElement("div");
    card.className = "card"; title.textContent = key; space.className = "chart"; space.style.height = "240px"; space.id = `compare-any-${key.replace(/[^\w]/g, "-")}`;
    card.append(title, space); grid.append(card); shown.set(key, card);
    if (![...chips.children].some(chip => chip.dataset.key === key)) {
      const chip = Object.assign(document.createElement("button"), {type: "button", className: "chip", textContent: `${key} ✕`});
      chip.dataset.key = key; chips.append(chip);
    }
    draw(key);
    return true;
  };
  chips.onclick = event => {
    const key = event.target.dataset.key;
    if (key === undefined) return;
    event.target.remove(); shown.get(key)?.remove(); shown.delete(key);
  };
  input.onchange = () => { if (add(input.value.trim())) input.value = ""; };
  log.onchange = () => shown.forEach((_, key) => draw(key));
  [...chips.children].forEach(chip => add(chip.dataset.key));
});

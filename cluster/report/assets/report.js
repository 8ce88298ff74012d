"use strict";
const report = (() => {
  const pages = new Map();          // name → the page's own function (data, root)
  const opened = new Map();         // name → promise of {charts, data}
  const drawn = new Map();          // chart id → figure, for those that Plotly has drawn
  let plotly = null, observer = null;

  async function unpack(id) {
    const element = document.getElementById(id);
    if (!element) return null;
    const bytes = Uint8Array.from(atob(element.textContent), letter => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  }
  const json = async id => { const found = await unpack(id); return found ? found.json() : null; };
  const more = (name, key) => json(`more-${name}-${key}`);

  function loadPlotly() {
    plotly ??= (async () => {
      const script = document.createElement("script");
      const url = URL.createObjectURL(new Blob([await (await unpack("plotly")).text()], {type: "text/javascript"}));
      await new Promise((done, failed) => { script.onload = done; script.onerror = failed; script.src = url; document.head.append(script); });
      URL.revokeObjectURL(url);
      return window.Plotly;
    })();
    return plotly;
  }

  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function layoutOf(own) {
    const axis = {gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true, fixedrange: touch()};
    const merged = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: css("--ink"), size: 12, family: "inherit"},
      margin: {l: 44, r: 12, t: 8, b: 36}, hovermode: "x unified", dragmode: touch() ? false : "zoom",
      hoverlabel: {bgcolor: css("--card"), bordercolor: css("--line"), font: {color: css("--ink")}},
      legend: {orientation: "h", y: -0.22, x: 0, font: {size: 11}}, xaxis: {title: {text: "step", standoff: 4}}, ...own,
    };
    for (const key of Object.keys(merged)) if (/^[xy]axis\d*$/.test(key)) merged[key] = {...axis, ...merged[key]};
    merged.yaxis ??= axis;
    return merged;
  }
  const touch = () => matchMedia("(pointer: coarse)").matches;

  async function chart(element, figure) {
    const Plotly = await loadPlotly();
    drawn.set(element.id, figure);
    await Plotly.react(element, figure.data, layoutOf(figure.layout || {}), {displayModeBar: false, responsive: true});
  }

  async function open(name) {
    if (!opened.has(name)) opened.set(name, json(`data-${name}`).then(found => {
      const root = document.getElementById(`page-${name}`);
      pages.get(name)?.(found.data, root);
      return found;
    }));
    const {charts} = await opened.get(name);
    observer ??= new IntersectionObserver(seen => seen.filter(one => one.isIntersecting).forEach(one => one.target.draw?.()), {rootMargin: "200px"});
    for (const element of document.querySelectorAll(`#page-${name} .chart`)) {
      const figure = charts[element.id];
      if (!figure || drawn.has(element.id)) continue;
      element.draw = () => { observer.unobserve(element); chart(element, figure); };
      observer.observe(element);
    }
  }

  function show() {
    const sections = [...document.querySelectorAll("main > section")];
    const wanted = `page-${location.hash.slice(1).split("/")[0]}`;
    const current = sections.find(section => section.id === wanted) || sections[0];
    sections.forEach(section => { section.hidden = section !== current; });
    document.querySelectorAll("nav a").forEach(tab => {
      const chosen = tab.getAttribute("aria-controls") === current.id;
      tab.setAttribute("aria-selected", chosen);
      if (chosen) tab.scrollIntoView({block: "nearest", inline: "nearest"});
    });
    return open(current.id.slice("page-".length));
  }

  function start() {
    const root = document.documentElement;
    document.getElementById("theme").onclick = () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      for (const [id, figure] of drawn) chart(document.getElementById(id), figure);
    };
    addEventListener("hashchange", show);
    show();
  }
  return {page: (name, make) => pages.set(name, make), more, chart, css, start};
})();

"use strict";
const report = (() => {
  const pages = new Map();          // name → the page's own function (data, root)
  const opened = new Map();         // name → promise of {charts, data}
  const drawn = new Map();          // chart id → figure, for those that Plotly has drawn
  const LIGHTER = {"#0072B2": "#4AA3DF", "#8A6BBE": "#A98FD6"};  // on a dark ground
  let plotly = null, observer = null;

  async function unpack(id) {
    const element = document.getElementById(id);
    if (!element) return null;
    return new Response(new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip")));
  }
  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const letters = atob(base64), bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
    return bytes;
  }
  const json = async id => { const found = await unpack(id); return found ? found.json() : null; };
  const more = (name, key) => json(`more-${name}-${key}`);

  function loadPlotly() {
    plotly ??= (async () => {
      const script = document.createElement("script");
      const unpacked = await (await unpack("plotly")).blob();
      const url = URL.createObjectURL(new Blob([unpacked], {type: "text/javascript;charset=utf-8"}));
      await new Promise((done, failed) => { script.onload = done; script.onerror = failed; script.src = url; document.head.append(script); });
      URL.revokeObjectURL(url);
      return window.Plotly;
    })();
    return plotly;
  }

  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // A step is a whole number: few of them get a mark each, where Plotly would set some between.
  function marks(data) {
    const ends = data.flatMap(trace => trace.x?.length ? [trace.x[0], trace.x.at(-1)] : []);
    return ends.length && ends.every(Number.isInteger) && Math.max(...ends) - Math.min(...ends) < 8 ? {dtick: 1} : {};
  }
  function layoutOf(own, data) {
    const axis = {gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true, fixedrange: touch()};
    const merged = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: css("--ink"), size: 12, family: getComputedStyle(document.body).fontFamily},
      margin: {l: 44, r: 12, t: 8, b: 36}, hovermode: "x unified", dragmode: touch() ? false : "zoom",
      hoverlabel: {bgcolor: css("--card"), bordercolor: css("--line"), font: {color: css("--ink")}},
      legend: {orientation: "h", y: -0.22, x: 0, font: {size: 11}}, xaxis: {title: {text: "step", standoff: 4}, ...marks(data)}, ...own,
    };
    for (const key of Object.keys(merged)) if (/^[xy]axis\d*$/.test(key)) merged[key] = {...axis, ...merged[key]};
    merged.yaxis ??= axis;
    return merged;
  }
  const touch = () => matchMedia("(pointer: coarse)").matches;

  const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const lighter = (trace, part) => LIGHTER[trace[part]?.color] ? {...trace, [part]: {...trace[part], color: LIGHTER[trace[part].color]}} : trace;
  const dataOf = data => !isDark() ? data : data.map(trace => lighter(lighter(trace, "line"), "marker"));

  let turn = Promise.resolve();     // each chart waits for the one before and lets the browser paint it
  async function chart(element, figure) {
    drawn.set(element.id, figure);
    element.wanted = figure;
    const Plotly = await loadPlotly();
    await (turn = turn.then(() => new Promise(done => setTimeout(done))));
    if (!element.isConnected || element.wanted !== figure) return;  // removed, or drawn anew, in the meantime
    await Plotly.react(element, dataOf(figure.data), layoutOf(figure.layout || {}, figure.data), {displayModeBar: false, responsive: true});
  }

  async function open(name) {
    if (document.querySelector(`#page-${name} .chart`)) loadPlotly();
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

  // A report that is served: what is new replaces the pages, at once where a page has no controls of its own.
  function follow() {
    let version = document.body.dataset.live, waiting = null;
    const news = document.getElementById("news");
    const renew = async () => {
      const found = new DOMParser().parseFromString(await (await fetch("./")).text(), "text/html");
      for (const element of document.querySelectorAll("main .js-plotly-plot")) window.Plotly?.purge(element);
      for (const name of ["main", ".names"]) document.querySelector(name).replaceWith(found.querySelector(name));
      for (const old of document.querySelectorAll("script[type='application/x-packed']")) if (old.id !== "plotly") old.remove();
      for (const block of found.querySelectorAll("script[type='application/x-packed']")) if (block.id !== "plotly") document.body.append(block);
      version = found.body.dataset.live; waiting = null; news.hidden = true;
      opened.clear(); drawn.clear();
      await show();
    };
    const look = async () => {
      if (document.hidden) return;
      try {
        const newest = await (await fetch("version")).text();
        if (/^[0-9a-f]{16}$/.test(newest) && newest !== version) waiting = newest;
        news.textContent = "show what is new";
      } catch { news.textContent = "the server has ended"; news.hidden = false; return; }
      const current = document.querySelector("main > section:not([hidden])").id.slice("page-".length);
      if (waiting && !pages.has(current)) await renew(); else news.hidden = !waiting;
    };
    news.onclick = () => { if (waiting) renew(); };
    setInterval(look, 5000);
  }

  function start() {
    const root = document.documentElement;
    document.getElementById("theme").onclick = () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      for (const [id, figure] of drawn) chart(document.getElementById(id), figure);
    };
    addEventListener("hashchange", show);
    if (document.body.dataset.live) follow();
    show();
  }
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6BBE", "#7F7F7F"];
  const colour = place => colours[place % colours.length];
  function change(element, how) {
    const figure = drawn.get(element.id);
    if (figure) { how(figure); chart(element, figure); }
  }
  return {colour, change, page: (name, make) => pages.set(name, make), more, chart, css, start};
})();

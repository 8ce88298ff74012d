// The tokens of a response, shaded by a number of each.
const tokens = (() => {
  const {node, draw, count} = texts;
  const KINDS = {
    logprob: ["log-prob", "how unlikely the token was to the policy that learned"],
    mismatch: ["mismatch", "learner's log-prob − engine's, before any update"],
    ratio: ["ratio", "of the loss: above 1 the token has become more likely"],
    clip: ["clip", "tokens whose gradient the objective cut off"],
    advantage: ["advantage", "pushed up or pulled down"],
    entropy: ["entropy", "how open the choice was"],
    reference: ["reference", "log-prob of the reference policy"],
  };
  const SAID = {logprob: "log-prob", engine: "engine", old: "old", mismatch: "mismatch", ratio: "ratio", clip: "clipped", advantage: "advantage",
    entropy: "entropy", reference: "reference"};
  const HIGH = 0.98;  // the share of the tokens that the full colour is above

  // A signed strength around 0 for the colour: blue below, orange above.
  const strength = {
    logprob: number => number, reference: number => number, mismatch: number => number, clip: number => number, advantage: number => number,
    entropy: number => number, ratio: number => Math.log(Math.max(number, 1e-30)),
  };

  function scaleOf(kind, segments) {
    const sizes = segments.flatMap(one => (one[kind] || []).map((number, place) => one.learned[place] && number !== null
      ? Math.abs(strength[kind](number)) : 0)).filter(size => size > 0).sort((a, b) => a - b);
    return sizes.length ? sizes[Math.min(sizes.length - 1, Math.floor(HIGH * sizes.length))] : 0;
  }

  const written = number => number === null ? "not finite" : Number(number.toPrecision(4)).toString();

  function numbers(segment, place) {
    const found = Object.keys(SAID).filter(name => name in segment).map(name =>
      name === "clip" ? (segment.clip[place] ? "clipped" : null) : `${SAID[name]} ${written(segment[name][place])}`);
    const state = !segment.sampled[place] ? "not the model's" : segment.learned[place] ? null : "not learned";
    return [`token ${place}`, state, ...(segment.sampled[place] ? found : [])].filter(Boolean).join(" · ");
  }

  function tokensOf(segment, kind, scale) {
    const box = node("div", "text tokens");
    box.dir = "auto";
    segment.pieces.forEach((piece, place) => {
      const token = box.appendChild(node("span", segment.sampled[place] ? segment.learned[place] ? "tk" : "tk unlearned" : "tk foreign"));
      token.dataset.place = place;
      draw(token, piece === "" ? "·" : piece, null);
      const number = segment[kind]?.[place];
      if (number === null || number === undefined || !segment.learned[place] || !scale) return;
      const signed = strength[kind](number) / scale;
      token.style.setProperty("--alpha", Math.min(1, Math.abs(signed)).toFixed(3));
      token.classList.add(signed < 0 ? "below" : "above");
    });
    if (segment.left_out) box.append(node("div", "gap quiet", `${count(segment.left_out)} further tokens are in the capsule only`));
    return box;
  }

  // `segments` are those of one response, `start` the kind to begin with.
  function view(segments, start, chosen) {
    const box = node("div", "shaded"), bar = box.appendChild(node("div", "kinds")), body = box.appendChild(node("div"));
    const legend = node("div", "legend quiet"), seen = node("output", "seen", "Point at a token to see its numbers.");
    box.append(legend, seen);
    const show = kind => {
      const scale = scaleOf(kind, segments);
      for (const button of bar.children) button.setAttribute("aria-pressed", button.dataset.kind === kind);
      body.replaceChildren(...segments.map(segment => {
        const drawn = tokensOf(segment, kind, scale);
        const tell = event => {
          const place = event.target.closest?.("[data-place]")?.dataset.place;
          if (place !== undefined) seen.textContent = numbers(segment, Number(place));
        };
        drawn.onmouseover = drawn.onclick = tell;
        return drawn;
      }));
      const unit = kind === "ratio" ? `${written(Math.exp(-scale))} and ${written(Math.exp(scale))}` : written(scale);
      legend.textContent = `${KINDS[kind][1]}. ${!scale ? "All are 0." : kind === "clip" ? `${count(segments.reduce((sum, one) =>
        sum + one.clip.reduce((a, b) => a + b, 0), 0))} clipped.` : `Full colour from ${unit}; blue is below ${kind === "ratio" ? 1 : 0}.`}`;
      chosen(kind);
    };
    const kinds = Object.keys(KINDS).filter(kind => segments.some(segment => kind in segment));
    for (const kind of kinds) {
      const button = bar.appendChild(node("button", "", KINDS[kind][0]));
      button.type = "button";
      button.dataset.kind = kind;
      button.onclick = () => show(kind);
    }
    show(kinds.includes(start) ? start : kinds[0]);
    return box;
  }
  return {view};
})();

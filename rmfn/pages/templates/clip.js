"use strict";
/* The page of a clip: player, transcript, time line and the utterance under the glass go together. */
(() => {
  const { record, media, labels, predictions, utterances, attention } = page.data;
  const $ = (id) => document.getElementById(id);
  const words = record.utterances.flatMap((part, n) => part.words.map((word, k) => ({ ...word, utterance: n, place: k })));
  const starts = words.map((word) => word.start);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  /* Plotly reads some tags in text; a word is a word. */
  const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
  let label = 0; // which of the labels is shown
  let utterance = -1; // which of the utterances is under the glass

  /* ---- player ---- */
  const player = $("player");
  if (media.bytes !== undefined) {
    const bytes = Uint8Array.from(atob(media.bytes), (character) => character.charCodeAt(0));
    player.src = URL.createObjectURL(new Blob([bytes], { type: media.type }));
  }
  player.addEventListener("error", () => { $("unplayed").hidden = false; $("hint").textContent = "Click a word to look at it."; });
  let wanted = 0; // seconds; where the reader went when nothing can be played
  const now = () => (player.readyState > 0 ? player.currentTime : wanted);

  function playFrom(time) {
    wanted = time;
    player.currentTime = time;
    const started = player.play();
    if (started) started.catch(() => {});
    follow();
  }

  /* ---- transcript: one stop for the Tab key, arrows go on from there ---- */
  const transcript = $("transcript");
  const buttons = [...transcript.querySelectorAll(".word")];
  const rows = [...transcript.querySelectorAll(".utterance")];
  let spoken = -1, reachable = 0, coming = 0;

  function reach(n, focus) {
    buttons[reachable].tabIndex = -1;
    reachable = clamp(n, 0, buttons.length - 1);
    buttons[reachable].tabIndex = 0;
    if (focus) buttons[reachable].focus();
  }
  transcript.addEventListener("click", (event) => {
    const button = event.target.closest(".word");
    if (!button) return;
    const n = Number(button.dataset.word);
    reach(n, false);
    look(words[n].utterance);
    playFrom(words[n].start);
  });
  transcript.addEventListener("keydown", (event) => {
    const first = words.findIndex((word) => word.utterance === words[reachable].utterance);
    const next = {
      ArrowRight: reachable + 1, ArrowLeft: reachable - 1, Home: 0, End: buttons.length - 1,
      ArrowDown: words.findIndex((word) => word.utterance === words[reachable].utterance + 1),
      ArrowUp: words.findIndex((word) => word.utterance === words[first].utterance - 1),
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0) reach(next, true);
  });

  function wordAt(time) {
    let low = 0, high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= time) low = middle + 1; else high = middle;
    }
    return low > 0 && time < words[low - 1].end ? low - 1 : -1;
  }

  function follow() {
    const time = now();
    const n = wordAt(time + 1e-3);
    if (n !== spoken) {
      buttons[spoken]?.classList.remove("spoken");
      buttons[n]?.classList.add("spoken");
      spoken = n;
      if (n >= 0) keepInView(buttons[n]);
      if (n >= 0 && !player.paused) look(words[n].utterance);
    }
    moveHead(time);
    turnOver(time);
    cancelAnimationFrame(coming); // several events may have asked for it
    if (!player.paused && !player.ended) coming = requestAnimationFrame(follow);
  }
  function keepInView(button) {
    const top = button.offsetTop; // within the transcript, which is positioned
    if (top < transcript.scrollTop || top + button.offsetHeight > transcript.scrollTop + transcript.clientHeight) {
      transcript.scrollTo({ top: top - transcript.clientHeight / 3, behavior: page.still ? "auto" : "smooth" });
    }
  }
  for (const name of ["play", "seeked", "pause", "timeupdate"]) player.addEventListener(name, follow);

  /* ---- how much each word moves its utterance: the thickest line is a sixth of the scale ---- */
  function underline() {
    const full = (labels[label].span[1] - labels[label].span[0]) / 6;
    words.forEach((word, n) => {
      const value = utterances[word.utterance].effect[label][word.place];
      const depth = value === null ? 0 : Math.round(Math.min(Math.abs(value) / full, 1) * 6);
      buttons[n].style.setProperty("--under", value < 0 ? "var(--cold)" : "var(--warm)");
      buttons[n].style.setProperty("--depth", `${depth}px`);
    });
  }

  /* The words that move it most, all utterances together. */
  function rank() {
    const moved = words.map((word, n) => ({ n, value: utterances[word.utterance].effect[label][word.place] ?? 0 }));
    moved.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const largest = Math.max(Math.abs(moved[0].value), 1e-9);
    $("strongest").replaceChildren(...moved.slice(0, 6).map(({ n, value }) => {
      const item = document.createElement("li");
      item.className = value < 0 ? "cold" : "warm";
      const button = item.appendChild(document.createElement("button"));
      button.type = "button";
      button.className = "word";
      button.textContent = words[n].text;
      button.addEventListener("click", () => { reach(n, false); look(words[n].utterance); playFrom(words[n].start); });
      const bar = item.appendChild(document.createElement("span"));
      bar.className = "stick";
      bar.style.width = `${Math.abs(value) / largest * 100}%`;
      const number = item.appendChild(document.createElement("span"));
      number.className = "sign";
      number.textContent = signed(value);
      return item;
    }));
  }

  /* ---- time line ---- */
  const plot = $("plot-timeline");
  const head = plot.appendChild(document.createElement("div"));
  head.className = "playhead";
  head.hidden = true;
  const layoutOf = () => plot._fullLayout;

  function moveHead(time) {
    if (!plot.classList.contains("drawn") || !layoutOf()) return;
    const { xaxis, _size: size, height } = layoutOf();
    const x = xaxis.l2p(time);
    head.hidden = x < -1 || x > xaxis._length + 1;
    head.style.left = `${size.l + x}px`;
    head.style.top = `${size.t}px`;
    head.style.height = `${height - size.t - size.b}px`;
  }
  /* While it plays, a time line that is zoomed in turns over like a page. */
  function turnOver(time) {
    if (player.paused || !head.hidden || !plot.classList.contains("drawn") || !layoutOf()) return;
    const length = span();
    if (length < record.clip.duration) show(time - 0.05 * length, length);
  }
  const range = () => layoutOf().xaxis.range.map(Number);
  const span = () => range()[1] - range()[0];
  function show(start, length) {
    const whole = record.clip.duration;
    const wide = clamp(length, Math.min(2, whole), whole);
    const from = clamp(start, 0, whole - wide);
    return Plotly.relayout(plot, { "xaxis.range": [from, from + wide] });
  }
  const zoom = (factor) => { const [low, high] = range(), t = now(); const at = t > low && t < high ? t : (low + high) / 2; show(at - (at - low) * factor, (high - low) * factor); };
  const onDrawn = (id, act) => $(id).addEventListener("click", () => plot.classList.contains("drawn") && act());
  onDrawn("zoom-in", () => zoom(0.5));
  onDrawn("zoom-out", () => zoom(2));
  onDrawn("earlier", () => show(range()[0] - span() / 2, span()));
  onDrawn("later", () => show(range()[0] + span() / 2, span()));
  onDrawn("whole", () => show(0, record.clip.duration));

  /* Words are written above the predictions when there is room for them. */
  let written = false;
  function writeWords() {
    const [low, high] = range();
    const seen = words.filter((word) => word.end > low && word.start < high).length;
    const room = layoutOf().xaxis._length / Math.max(seen, 1) > 34;
    if (room !== written) { written = room; Plotly.restyle(plot, { visible: room }, [3]); }
  }
  plot.addEventListener("drawn", () => {
    plot.append(head);
    plot.on("plotly_relayout", () => { writeWords(); moveHead(now()); });
    plot.on("plotly_afterplot", () => moveHead(now()));
    let pressed = null;
    plot.addEventListener("pointerdown", (event) => { pressed = event.clientX; });
    plot.addEventListener("pointerup", (event) => {
      if (pressed === null || Math.abs(event.clientX - pressed) > 4) return;
      const { xaxis, _size: size } = layoutOf();
      const x = event.clientX - plot.getBoundingClientRect().left - size.l;
      if (x >= 0 && x <= xaxis._length) playFrom(clamp(xaxis.p2l(x), 0, record.clip.duration));
    });
    writeWords();
    moveHead(now());
  });
  $("label")?.addEventListener("change", (event) => {
    label = Number(event.target.value);
    const figure = page.figures.timeline;
    figure.data.splice(0, 4, ...predictions[label].data);
    figure.layout.yaxis = { ...figure.layout.yaxis, ...predictions[label].yaxis };
    figure.layout.shapes = figure.layout.shapes.filter((shape) => shape.name !== "neutral").concat(predictions[label].shapes);
    const title = figure.layout.annotations.find((note) => note.name === "title");
    title.text = `<b>${safe(labels[label].label)}</b>`;
    if (plot.classList.contains("drawn")) page.draw(plot, figure).then(writeWords);
    underline();
    rank();
    look(utterance, true);
  });

  /* ---- the utterance under the glass ---- */
  const select = $("utterance");
  function look(n, again = false) {
    if (n === utterance && !again) return;
    utterance = clamp(n, 0, utterances.length - 1);
    select.value = String(utterance);
    rows.forEach((row, k) => row.toggleAttribute("data-looked-at", k === utterance));
    if (near) drawUtterance();
  }
  select.addEventListener("change", () => look(Number(select.value)));
  $("before").addEventListener("click", () => look(utterance - 1));
  $("after").addEventListener("click", () => look(utterance + 1));
  let near = false; // drawn only when the reader comes near
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    near = true;
    drawUtterance();
  }, { rootMargin: "300px" }).observe($("words"));

  function drawUtterance() {
    drawArriving();
    drawEffect();
    showBlank();
    if (attention) drawAttention();
  }
  const texts = () => record.utterances[utterance].words.map((word) => safe(word.text));
  /* Words may repeat: places are numbers, words their names. */
  const wordAxis = (extra = {}) => {
    const names = texts();
    return { tickmode: "array", tickvals: names.map((_, k) => k), ticktext: names, tickangle: names.length > 7 ? -50 : 0, range: [-0.6, names.length - 0.4], showgrid: false, tickfont: { color: "var(--ink)" }, ...extra };
  };

  function drawArriving() {
    const { span: scale, neutral } = labels[label];
    const part = utterances[utterance];
    const values = part.prefixes[label];
    page.draw($("plot-arriving"), {
      data: [{
        type: "scatter", mode: "lines+markers", x: values.map((_, k) => k), y: values, text: texts(),
        line: { color: "var(--accent)", width: 2.5, shape: "linear" }, marker: { color: "var(--accent)", size: 8 },
        hovertemplate: "after “%{text}”: %{y:+.2f}<extra></extra>",
      }],
      layout: {
        xaxis: wordAxis(), yaxis: { range: scale, nticks: 7 },
        shapes: neutral === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: neutral, y1: neutral, line: { color: "var(--muted)", width: 1 } }],
      },
    });
    $("plot-arriving").setAttribute("aria-label", `Prediction after each of ${values.length} words, from ${signed(values[0])} to ${signed(values.at(-1))}`);
  }

  function drawEffect() {
    const values = utterances[utterance].effect[label];
    const most = Math.max(...values.map((value) => Math.abs(value ?? 0)), 0.1) * 1.25;
    page.draw($("plot-effect"), {
      data: [{
        type: "bar", x: values.map((_, k) => k), y: values, text: values.map((value) => (value === null ? "" : signed(value))), textposition: "outside", cliponaxis: false,
        textfont: { color: "var(--ink)", size: 11 }, customdata: texts(),
        marker: { color: values.map((value) => (value < 0 ? "var(--cold)" : "var(--warm)")) },
        hovertemplate: "“%{customdata}” moves it by %{y:+.2f}<extra></extra>",
      }],
      layout: { xaxis: wordAxis(), yaxis: { range: [-most, most], nticks: 5, zeroline: true, zerolinecolor: "var(--muted)" }, bargap: 0.35 },
      narrow: { uniformtext: { minsize: 12, mode: "hide" } },
    });
    const strongest = values.reduce((best, value, k) => (Math.abs(value ?? 0) > Math.abs(values[best] ?? 0) ? k : best), 0);
    $("plot-effect").setAttribute("aria-label", `Contribution of each of ${values.length} words; the largest is ${signed(values[strongest] ?? 0)} of “${record.utterances[utterance].words[strongest].text}”`);
  }

  function showBlank() {
    const part = utterances[utterance];
    const [low, high] = labels[label].span;
    const row = (name, value) => {
      const line = document.createElement("div");
      line.className = "blank-row";
      const tone = labels[label].signed ? (value >= (low + high) / 2 ? "warm" : "cold") : "cold";
      const title = document.createElement("span");
      title.textContent = name;
      const gauge = document.createElement("span");
      gauge.className = `gauge ${tone}`;
      gauge.setAttribute("aria-hidden", "true");
      const mark = gauge.appendChild(document.createElement("i"));
      mark.className = "mark";
      mark.style.left = `${clamp((value - low) / (high - low), 0, 1) * 100}%`;
      const number = document.createElement("span");
      number.className = `sign ${tone}`;
      number.textContent = labels[label].signed ? signed(value) : `${Math.round(value * 100)} %`;
      line.append(title, gauge, number);
      return line;
    };
    $("blank").replaceChildren(
      row("with everything", part.whole[label]),
      ...Object.entries(part.blank[label]).map(([modality, value]) => row(`without ${modality}`, value)),
    );
  }

  /* ---- attention: stage by stage, unit by unit ---- */
  let stretched = false;
  $("stretch")?.addEventListener("click", () => {
    stretched = !stretched;
    $("stretch").setAttribute("aria-pressed", String(stretched));
    drawAttention();
  });
  $("member")?.addEventListener("change", () => drawAttention());

  function readAttention(member) {
    const { stages, units, limit } = attention;
    const bytes = Uint8Array.from(atob(attention.weights[utterance]), (character) => character.charCodeAt(0));
    const n = record.utterances[utterance].words.length;
    const at = (k, unit, word) => (bytes[((member * stages + k) * units + unit) * n + word] / 127.5 - 1) * limit;
    return Array.from({ length: stages }, (_, k) => Array.from({ length: units }, (_, unit) => Array.from({ length: n }, (_, word) => at(k, unit, word))));
  }

  function drawAttention() {
    const maps = readAttention(Number($("member")?.value ?? 0));
    const names = Object.keys(attention.parts);
    const small = $("plot-attention").clientWidth < 620;
    const limit = stretched ? attention.limit : 1;
    const ticks = stretched ? [-limit, 0, limit] : [-1, 0, 1];
    const data = [], layout = { annotations: [], margin: { l: 12, r: 12, t: 34, b: 20 }, bargap: 0 };
    const gap = 0.035, rows = names.map((name) => attention.parts[name][1] - attention.parts[name][0]);
    const total = rows.reduce((sum, count) => sum + Math.max(count, attention.units * 0.12), 0);
    maps.forEach((map, k) => {
      const across = small
        ? [0, 1]
        : [k / maps.length + (k ? gap / 3 : 0), (k + 1) / maps.length - (k < maps.length - 1 ? gap / 3 : 0)];
      const [floor, ceiling] = small ? [1 - (k + 1) / maps.length + (k < maps.length - 1 ? 0.09 : 0), 1 - k / maps.length - (k ? 0.03 : 0)] : [0, 1];
      let top = ceiling;
      layout.annotations.push({ text: `<b>Stage ${k + 1}</b>`, xref: "paper", yref: "paper", x: across[0], xanchor: "left", y: ceiling, yanchor: "bottom", showarrow: false, font: { color: "var(--ink)" } });
      names.forEach((name, m) => {
        const axis = k * names.length + m + 1;
        const suffix = axis === 1 ? "" : String(axis);
        const height = (Math.max(rows[m], attention.units * 0.12) / total) * (ceiling - floor) - (m ? 0.012 : 0);
        const [first, last] = attention.parts[name];
        data.push({
          type: "heatmap", z: map.slice(first, last), xaxis: `x${suffix}`, yaxis: `y${suffix}`, coloraxis: "coloraxis", xgap: 1.5,
          customdata: map.slice(first, last).map((row) => row.map((value) => 2 ** value)), text: map.slice(first, last).map(() => texts()),
          hovertemplate: `stage ${k + 1}, ${name}, unit %{y}<br>“%{text}” ×%{customdata:.2f}<extra></extra>`,
        });
        const bottom = m === names.length - 1;
        layout[`xaxis${suffix}`] = wordAxis({ domain: across, anchor: `y${suffix}`, showticklabels: bottom, ticks: "", tickangle: -50, tickfont: { color: "var(--ink)", size: 11 } });
        layout[`yaxis${suffix}`] = { domain: [Math.max(top - height, 0), top], anchor: `x${suffix}`, autorange: "reversed", showticklabels: false, showgrid: false, ...(k === 0 || small ? { title: { text: name, font: { color: `var(--${name})`, size: 13 }, standoff: 4 } } : {}) };
        top -= height + 0.012;
      });
    });
    layout.coloraxis = {
      cmin: -limit, cmax: limit, colorscale: [[0, "var(--cold)"], [0.5, "var(--card)"], [1, "var(--warm)"]],
      colorbar: small
        ? { orientation: "h", y: 1.06, yanchor: "bottom", thickness: 10, len: 0.8, tickvals: ticks, ticktext: ticks.map((tick) => `×${(2 ** tick).toFixed(2)}`), outlinewidth: 0 }
        : { thickness: 10, len: 0.9, tickvals: ticks, ticktext: ticks.map((tick) => `×${(2 ** tick).toFixed(2)}`), outlinewidth: 0 },
    };
    if (small) layout.margin.t = 70;
    const element = $("plot-attention");
    element.style.height = small ? `${260 * maps.length}px` : "500px";
    page.draw(element, { data, layout });
    element.setAttribute("aria-label", `Attention of ${maps.length} stages over ${texts().length} words, ${names.map((name, m) => `${rows[m]} ${name} units`).join(", ")}`);
  }

  /* ---- stills, record ---- */
  document.querySelectorAll(".still").forEach((still) => still.addEventListener("click", () => {
    playFrom(Number(still.dataset.time));
    player.scrollIntoView({ block: "center" });
  }));
  $("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(record, null, 1)], { type: "application/json" }));
    link.download = `${record.clip.path.split(/[\\/]/).pop().replace(/\.[^.]*$/, "")}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  });

  underline();
  rank();
  look(0);
})();

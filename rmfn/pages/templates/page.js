"use strict";
/* What every page does: its data, its theme, its plots. Each script after this one may use `page`. */
const page = (() => {
  const { data, figures } = JSON.parse(document.getElementById("page-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const root = document.documentElement;
  const redraw = new Map(); // element -> draws it again in the present colours

  /* A colour as the browser shows it now: Plotly knows no custom properties. */
  const probe = root.appendChild(document.createElement("i"));
  probe.hidden = true;
  function colour(name) {
    probe.style.color = name.startsWith("var(") ? name : `var(--${name})`;
    return getComputedStyle(probe).color;
  }

  function painted(value) {
    if (typeof value === "string") return /^var\(--[a-z-]+\)$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "number" && typeof value[1] !== "string" ? value : value.map(painted);
    if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item)]));
  }

  const axis = () => ({
    gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"),
    tickcolor: colour("line"), automargin: true, fixedrange: true, zeroline: false,
  });

  /* Plotly takes a second to start: it does so when the first plot is drawn, not before the page. */
  function start() {
    if ("Plotly" in window) return;
    const made = document.createElement("script");
    made.textContent = document.getElementById("plotly").textContent;
    document.head.append(made);
  }

  /* Draw a figure {data, layout, narrow?}; `narrow` is laid over the layout on small screens. */
  function draw(element, figure) {
    const again = () => {
      const small = element.clientWidth < 620;
      const { data: traces, layout } = painted(figure);
      const full = {
        font: { family: getComputedStyle(document.body).fontFamily, size: small ? 11 : 12.5, color: colour("muted") },
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 44, r: 12, t: 8, b: 32 }, showlegend: false, dragmode: false,
        hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
        ...layout, ...(small ? painted(figure.narrow || {}) : {}),
      };
      for (const key of new Set(["xaxis", "yaxis", ...Object.keys(full)])) {
        if (/^[xy]axis\d*$/.test(key)) full[key] = { ...axis(), ...full[key] };
      }
      element.classList.add("drawn");
      return Plotly.react(element, traces, full, { displayModeBar: false, responsive: true });
    };
    start();
    redraw.set(element, again);
    return again();
  }

  /* Plots of the page: drawn when they are near the window, so that a long page opens at once. */
  const drawing = {};
  function drawOnce(element) {
    const name = element.dataset.figure;
    if (!(name in drawing) && name in figures) drawing[name] = draw(element, figures[name]);
    return drawing[name];
  }
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      // After the browser has shown what is there already.
      setTimeout(() => Promise.resolve(drawOnce(entry.target)).then(() => entry.target.dispatchEvent(new Event("drawn"))));
    }
  }, { rootMargin: "400px" });
  for (const element of document.querySelectorAll(".plot")) if (element.dataset.figure in figures) seen.observe(element);
  addEventListener("beforeprint", () => document.querySelectorAll(".plot").forEach(drawOnce));

  /* Light or dark as the system says, until the reader chooses. */
  const button = document.getElementById("theme");
  let chosen = null;
  function name() { return chosen ?? (dark.matches ? "dark" : "light"); }
  function label() { button.textContent = name() === "dark" ? "Light" : "Dark"; button.title = `Show in ${button.textContent.toLowerCase()} colours`; }
  function repaint() { label(); for (const again of redraw.values()) again(); }
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = name() === "dark" ? "light" : "dark";
    root.style.colorScheme = chosen;
    repaint();
  });
  dark.addEventListener("change", () => { if (chosen === null) repaint(); });
  label();

  return { data, figures, colour, draw, still };
})();

// Draws the page's figures in the colours of its theme. Everything comes from the page itself.
"use strict";
(() => {
  const { figures, hover } = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const themes = {
    light: {
      paper: "#ffffff", ink: "#1d2530", muted: "#5f6b7a", rule: "#e2e6eb", dim: "#8d99a8", faint: "#dde2e8", front: "#0b62c4",
      shade: "rgba(11,98,196,0.07)", shade2: "rgba(194,87,26,0.09)", limit: "#b3400e", series2: "#c2571a", series3: "#1a7f4b", series4: "#8a4bb5", series5: "#5f6b7a",
      ramp: [[11, 98, 196], [194, 87, 26]],
    },
    dark: {
      paper: "#14181d", ink: "#e4e8ed", muted: "#98a4b3", rule: "#2b323b", dim: "#7b8796", faint: "#323a45", front: "#62a8ff",
      shade: "rgba(98,168,255,0.10)", shade2: "rgba(255,178,122,0.11)", limit: "#ff9a62", series2: "#ffb27a", series3: "#5ecb92", series4: "#c79bea", series5: "#98a4b3",
      ramp: [[98, 168, 255], [255, 178, 122]],
    },
  };

  const named = (name, theme) => {
    if (!name.startsWith("ramp")) return theme[name] ?? "@" + name;
    const share = Number(name.slice(4));
    return `rgb(${theme.ramp[0].map((from, i) => Math.round(from + share * (theme.ramp[1][i] - from))).join(",")})`;
  };
  // A copy of a figure in which every value under a key that ends in "color" or "colorscale" has its colour.
  const painted = (value, theme, isColour = false) => {
    if (typeof value === "string") return isColour && value.startsWith("@") ? named(value.slice(1), theme) : value;
    if (Array.isArray(value)) return isColour ? value.map((item) => painted(item, theme, true)) : value.map((item) => painted(item, theme));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, theme, /color(scale)?$/.test(key))]));
  };

  // The buttons are listed, since plotly's own choice has one that sends the figure to its makers' server.
  const config = { displaylogo: false, responsive: true, plotlyServerURL: "" };
  const buttons = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];
  const withoutWebGL = !document.createElement("canvas").getContext("webgl");

  const draw = (key) => {
    const place = document.getElementById(key);
    const theme = dark.matches ? themes.dark : themes.light;
    const figure = painted(figures[key], theme);
    if (withoutWebGL && figure.data[0]?.type === "parcoords") {
      place.textContent = "Parallel coordinates need WebGL, which this browser does not offer.";
      place.classList.remove("tall", "figure");
      return;
    }
    for (const trace of figure.data) {
      if (trace.meta?.hover) Object.assign(trace, { text: trace.meta.hover.map((at) => hover[at]), hovertemplate: "%{text}<extra></extra>" });
      if (trace.type === "parcoords") Object.assign(trace, { labelfont: { color: theme.ink }, tickfont: { color: theme.muted }, rangefont: { color: "rgba(0,0,0,0)" } });
    }
    const axis = { gridcolor: theme.rule, zerolinecolor: theme.rule, linecolor: theme.rule, automargin: true, title: { font: { size: 13 } } };
    const { xaxis = {}, yaxis = {}, ...rest } = figure.layout;
    const merged = (own) => ({ ...axis, ...own, title: { ...axis.title, ...own.title } });
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: theme.ink, size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 56, r: 14, t: 34, b: 46 }, legend: { orientation: "h", x: 0, y: 1.01, yanchor: "bottom", font: { size: narrow.matches ? 10 : 12 } },
      hoverlabel: { bgcolor: theme.paper, bordercolor: theme.dim, font: { color: theme.ink, size: 12 }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: theme.dim, activecolor: theme.ink },
      xaxis: merged(xaxis), yaxis: merged(yaxis), ...rest,
    };
    const modeBarButtons = [figure.data[0]?.type === "parcoords" ? ["toImage"] : buttons];
    Plotly.newPlot(place, figure.data, layout, { ...config, modeBarButtons, displayModeBar: !narrow.matches, toImageButtonOptions: { filename: document.title.replace(/[^\w-]+/g, "-") + "-" + key } });
  };

  const visible = () => Object.keys(figures).filter((key) => !document.getElementById(key).closest("[hidden]"));
  visible().forEach(draw);
  dark.addEventListener("change", () => visible().forEach(draw));
  narrow.addEventListener("change", () => visible().forEach(draw));
  for (const button of document.querySelectorAll("button[data-shows]")) {
    button.addEventListener("click", () => {
      for (const other of button.parentElement.children) {
        const chosen = other === button;
        other.setAttribute("aria-pressed", String(chosen));
        document.getElementById(other.dataset.shows).hidden = !chosen;
      }
      draw(button.dataset.shows.replace(/-box$/, ""));
    });
  }
})();

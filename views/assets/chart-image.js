// A chart as an image with its title, legend and the name of its horizontal axis.

/**
 * @param plot canvas with lines and axes; @param axes title and name of x; @param names label and color of each line
 * @param style colors of paper and text, and the font
 */
export function chartImage(plot, axes, names, { paper, text, fontFamily }) {
  const scale = window.devicePixelRatio || 1;
  const [head, foot, edge] = [44, axes.x ? 22 : 8, 12].map((size) => size * scale);
  const canvas = document.createElement("canvas");
  canvas.width = plot.width + 2 * edge;
  canvas.height = plot.height + head + foot;
  const draw = canvas.getContext("2d");
  draw.fillStyle = paper;
  draw.fillRect(0, 0, canvas.width, canvas.height);
  draw.drawImage(plot, edge, head);
  draw.textBaseline = "middle";
  draw.fillStyle = text;
  draw.font = `600 ${14 * scale}px ${fontFamily}`;
  draw.fillText(axes.title, edge, 14 * scale);
  draw.font = `${11 * scale}px ${fontFamily}`;
  let x = edge;
  for (const { label, tone } of names) {
    draw.fillStyle = tone;
    draw.fillRect(x, 31 * scale, 14 * scale, 3 * scale);
    draw.fillStyle = text;
    draw.fillText(label, x + 19 * scale, 33 * scale);
    x += draw.measureText(label).width + 36 * scale;
  }
  if (axes.x) {
    draw.textAlign = "center";
    draw.fillText(axes.x, canvas.width / 2, canvas.height - 11 * scale);
  }
  return canvas;
}

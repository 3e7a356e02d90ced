// A file may be dropped anywhere: it goes to the place for models, which is one on each page.
if (!window.autoinitDrop) {
  window.autoinitDrop = true;
  const input = () => document.querySelector('.st-key-drop input[type=file]');
  const holds = event => [...event.dataTransfer?.types ?? []].includes('Files');
  const inside = event => event.target.closest?.('[data-testid=stFileUploaderDropzone]');
  document.addEventListener('dragover', event => { if (holds(event)) event.preventDefault(); });
  document.addEventListener('drop', event => {
    if (!holds(event) || inside(event)) return;
    event.preventDefault();
    const files = new DataTransfer();
    for (const file of event.dataTransfer.files) files.items.add(file);
    input().files = files.files;
    input().dispatchEvent(new Event('change', {bubbles: true}));
  });
  // A node of the graph leads to its layer, in the same visit.
  document.addEventListener('click', event => {
    const link = event.target.closest?.('.st-key-graph a, .st-key-curves a');
    if (!link) return;
    event.preventDefault();
    history.pushState({}, '', link.getAttribute('xlink:href') ?? link.getAttribute('href'));
    dispatchEvent(new PopStateEvent('popstate'));
  });
  // One finger scrolls the page, also over a chart: Plotly is told of taps and of two fingers only.
  document.addEventListener('touchstart', event => {
    if (event.touches.length === 1 && event.target.closest?.('.js-plotly-plot'))
      event.stopPropagation();
  }, {capture: true, passive: true});
}

"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const section = element("viewer");
  if (!section) return;
  const settings = JSON.parse(element("viewer-settings").textContent);
  const state = element("viewer-state");
  const AXIS = { axial: 2, coronal: 1, sagittal: 0 };
  const KIND = { axial: 0, coronal: 1, sagittal: 2, all: 3 };
  const views = [];
  let plane = "axial";
  let preset = settings.presets[0];

  const gunzip = async (id) => {
    const packed = Uint8Array.from(atob(element(id).textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const fail = (error) => {
    state.hidden = false;
    state.textContent = `The viewer cannot run in this browser (${error.message || error}). The slices below show the case.`;
    section.classList.add("failed");
    document.body.classList.remove("drawn");
  };
  const press = (name, value) => {
    for (const button of section.querySelectorAll(`[data-${name}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[name] === value));
    }
  };
  const axis = () => AXIS[plane] ?? 2;
  const count = () => views[0].nv.volumes[0].dimsRAS[axis() + 1];
  const showPlace = () => {
    const { nv } = views[0];
    const frac = nv.scene.crosshairPos;
    const slice = Math.min(count() - 1, Math.max(0, Math.floor(frac[axis()] * count())));
    element("slice").max = count() - 1;
    element("slice").value = slice;
    const mm = nv.frac2mm(frac);
    element("slice-at").textContent =
      `${plane === "all" ? "axial" : plane} ${slice + 1} of ${count()}; ` +
      `${["RL", "AP", "SI"].map(([over, under], index) => `${mm[index] < 0 ? under : over} ${Math.abs(mm[index]).toFixed(0)}`).join(", ")} mm`;
    for (const view of views) {
      const volume = view.nv.volumes[0];
      const at = volume.mm2vox(mm);
      view.at.textContent = `${volume.getValue(at[0], at[1], at[2])}${view.unit ? ` ${view.unit}` : ""}`;
    }
  };
  let busy = false;
  const follow = (leader) => {
    if (busy || views.length < settings.volumes.length) return;
    busy = true;
    for (const { nv } of views) {
      if (nv === leader) continue;
      nv.scene.crosshairPos = [...leader.scene.crosshairPos];
      nv.drawScene();
    }
    busy = false;
    showPlace();
  };
  const moveTo = (slice) => {
    const leader = views[0].nv;
    const place = [...leader.scene.crosshairPos];
    place[axis()] = (slice + 0.5) / count();
    leader.scene.crosshairPos = place;
    leader.drawScene();
    follow(leader);
  };
  const setPlane = (name) => {
    plane = name;
    section.classList.toggle("all", name === "all");
    press("plane", name);
    for (const { nv } of views) {
      nv.resizeListener();
      nv.setSliceType(KIND[name]);
    }
    showPlace();
  };
  const setPreset = (name) => {
    preset = settings.presets.find((each) => each.name === name);
    press("preset", name);
    for (const view of views) {
      if (!view.windowed) continue;
      const volume = view.nv.volumes[0];
      [volume.cal_min, volume.cal_max] = [preset.low, preset.high];
      view.nv.updateGLVolume();
      element(`low-${view.name}`).textContent = preset.low;
      element(`high-${view.name}`).textContent = `${preset.high} HU`;
    }
  };
  const setZoom = (factor) => {
    for (const { nv } of views) {
      const [x, y, z, old] = nv.scene.pan2Dxyzmm;
      nv.setPan2Dxyzmm(factor === 0 ? [0, 0, 0, 1] : [x, y, z, Math.min(12, Math.max(0.5, old * factor))]);
    }
  };

  const start = async (Niivue) => {
    for (const each of settings.volumes) {
      const canvas = element(`canvas-${each.name}`);
      const nv = new Niivue({
        backColor: [0, 0, 0, 1], crosshairColor: [1, 0.78, 0.35, 0.55], crosshairWidth: 0.25, crosshairWidthUnit: "percent", crosshairGap: 6,
        dragAndDropEnabled: false, isRadiologicalConvention: true, show3Dcrosshair: true, loadingText: "",
        viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", multiplanarShowRender: 0, logLevel: "error",
        textHeight: 0.06, multiplanarForceRender: false,
      });
      if (!canvas.getContext("webgl2")) throw new Error("no WebGL 2");
      await nv.attachToCanvas(canvas, false);
      for (const [name, colours] of Object.entries(settings.maps)) nv.addColormap(name, colours);
      await nv.loadFromArrayBuffer(await gunzip(`volume-${each.name}`), `${each.name}.nii`);
      const volume = nv.volumes[0];
      volume.colormap = each.map;  // this sets the limits anew, so it comes first
      [volume.cal_min, volume.cal_max] = [each.low, each.high];
      nv.setInterpolation(false);
      nv.updateGLVolume();
      canvas.setAttribute("aria-label", `${each.label}; arrow keys move through the slices`);
      const view = { nv, name: each.name, unit: each.unit, windowed: each.windowed, at: element(`at-${each.name}`) };
      nv.onLocationChange = () => follow(nv);
      canvas.addEventListener("keydown", (event) => {
        const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        moveTo(Math.min(count() - 1, Math.max(0, Number(element("slice").value) + step)));
      }, true);
      views.push(view);
    }
    for (const { nv } of views) {
      nv.broadcastTo(views.map((view) => view.nv).filter((other) => other !== nv), { "2d": true, "3d": true, zoomPan: true });
    }
    state.hidden = true;
    document.body.classList.add("drawn");
    setPreset(preset.name);
    setPlane(plane);
    moveTo(Math.round(settings.first * (count() - 1)));
    section.dataset.state = "drawn";
  };

  section.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || section.dataset.state !== "drawn") return;
    if (button.dataset.plane) setPlane(button.dataset.plane);
    if (button.dataset.preset) setPreset(button.dataset.preset);
    if (button.dataset.zoom) setZoom(Number(button.dataset.zoom));
  });
  element("slice").addEventListener("input", (event) => {
    if (section.dataset.state === "drawn") moveTo(Number(event.target.value));
  });
  globalThis.synthctStartViewer = (Niivue) => start(Niivue).catch(fail);
  gunzip("viewer-script").then((bytes) => {
    const script = document.createElement("script");
    script.type = "module";
    script.textContent = new TextDecoder().decode(bytes);
    document.body.append(script);
  }).catch(fail);
})();

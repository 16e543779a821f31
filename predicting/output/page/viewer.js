// The page's only script of its own. Numbers come in tenths of a millimetre from each frame's origin, camera frame
// (x right, y down, z away); three.js has y up and z towards the viewer, so y and z change sign.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { frames, bones, colours, statuses } = data;
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  let current = 0;
  let timer = null;

  const scene3d = viewer();
  fillSheet();
  fillTable();
  $("time").max = frames.length - 1;
  $("play").disabled = frames.length < 2;
  $("time").addEventListener("input", () => { stop(); show(Number($("time").value)); });
  $("play").addEventListener("click", () => (timer ? stop() : play()));
  for (const id of ["points", "mesh", "bones", "follow"]) $(id).addEventListener("change", () => show(current));
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=checkbox], button") && event.key === " ") return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && event.target !== $("time")) { stop(); show(current + step); }
    else if (event.key === " ") $("play").click();
    else return;
    event.preventDefault();
  });
  show(Math.max(0, frames.findIndex((frame) => frame.vertices)));

  function play() {
    $("play").textContent = "Stop";
    timer = setInterval(() => show((current + 1) % frames.length), 1000 / data.frames_per_second);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    $("play").textContent = "Play";
  }

  function show(index) {
    const chosen = Math.min(Math.max(index, 0), frames.length - 1);
    for (const list of [$("sheet").children, $("measures").tBodies[0].rows]) {
      list[current].classList.remove("chosen");
      list[chosen].classList.add("chosen");
    }
    current = chosen;
    const frame = frames[current];
    $("time").value = current;
    const words = [`${current + 1} / ${frames.length}`, frame.frame, `${frame.status} ${frame.confidence.toFixed(2)}`, frame.side];
    $("now").textContent = words.filter(Boolean).join(" · ");
    if (scene3d) scene3d.draw(frame);
    document.body.dataset.frame = current;
  }

  function mark(status) {
    const dot = document.createElement("i");
    dot.className = "status";
    dot.style.background = statuses[status];
    return dot;
  }

  function fillSheet() {
    frames.forEach((frame, index) => {
      const cell = document.createElement("button");
      cell.type = "button";
      cell.title = `${frame.frame}: ${frame.status}`;
      const image = document.createElement("img");
      image.src = frame.picture;
      image.alt = "";
      const name = document.createElement("span");
      name.append(Object.assign(document.createElement("bdi"), { textContent: frame.frame }));
      const line = document.createElement("div");
      line.append(mark(frame.status), name);
      cell.append(image, line);
      cell.addEventListener("click", () => { stop(); show(index); $("stage").scrollIntoView({ block: "nearest" }); });
      $("sheet").append(cell);
    });
  }

  function fillTable() {
    const head = $("measures").createTHead().insertRow();
    for (const title of ["frame", "status", "confidence", "side", ...data.measures.map((name) => name.replace("_", " "))]) {
      head.append(Object.assign(document.createElement("th"), { textContent: title }));
    }
    const body = $("measures").createTBody();
    frames.forEach((frame, index) => {
      const row = body.insertRow();
      row.insertCell().textContent = frame.frame;
      row.insertCell().append(mark(frame.status), frame.status);
      row.insertCell().textContent = frame.confidence.toFixed(2);
      row.insertCell().textContent = frame.side;
      for (const name of data.measures) row.insertCell().textContent = frame.measures[name]?.toFixed(2) ?? "";
      row.addEventListener("click", () => { stop(); show(index); });
    });
  }

  function viewer() {
    let renderer;
    try {
      renderer = new THREE.WebGLRenderer({ canvas: $("canvas"), antialias: true });
    } catch {
      $("nothing").textContent = "This browser cannot draw in 3D (WebGL is off).";
      $("nothing").hidden = false;
      return null;
    }
    const scene = new THREE.Scene();
    scene.background = new THREE.Color(0x14161a);
    scene.add(new THREE.AmbientLight(0xffffff, 0.9));
    const light = new THREE.DirectionalLight(0xffffff, 2.2);
    light.position.set(-0.35, 0.5, 0.8);
    scene.add(light);
    const world = new THREE.Group();
    scene.add(world);
    const camera = new THREE.PerspectiveCamera(32, 1, 1, 20000);
    const controls = new THREE.OrbitControls(camera, renderer.domElement);
    controls.addEventListener("change", render);

    const dots = new THREE.Points(
      new THREE.BufferGeometry(),
      new THREE.PointsMaterial({ size: 2.4, vertexColors: true }),
    );
    const skin = new THREE.MeshLambertMaterial({ color: 0xd6ad91, side: THREE.DoubleSide });
    const hand = new THREE.Mesh(new THREE.BufferGeometry(), skin);
    hand.geometry.setIndex(new THREE.BufferAttribute(new Uint16Array(bytes(data.faces)), 1));
    dots.frustumCulled = hand.frustumCulled = false; // their bounds change with every frame
    // Bones lie inside the hand and are drawn over it all the same.
    const over = new THREE.MeshLambertMaterial({ depthTest: false });
    const sticks = new THREE.InstancedMesh(new THREE.CylinderGeometry(1.6, 1.6, 1, 8), over, bones.length);
    const balls = new THREE.InstancedMesh(new THREE.SphereGeometry(3.2, 12, 8), over, colours.length);
    sticks.renderOrder = 1;
    balls.renderOrder = 2;
    sticks.frustumCulled = balls.frustumCulled = false;
    colours.forEach((colour, joint) => balls.setColorAt(joint, paint(colour)));
    bones.forEach(([, child], bone) => sticks.setColorAt(bone, paint(colours[child])));
    dots.visible = hand.visible = sticks.visible = balls.visible = false; // drawn without normals once, a mesh stays faceted
    world.add(dots, hand, sticks, balls);

    $("front").addEventListener("click", () => look(0, 0));
    $("aside").addEventListener("click", () => look(0.75, 0.25));
    new ResizeObserver(fit).observe($("stage"));
    look(0.3, 0.18);
    fit();
    return { draw };

    function look(across, up) {
      controls.target.set(0, 0, 0);
      camera.position.set(Math.sin(across) * Math.cos(up), Math.sin(up), Math.cos(across) * Math.cos(up));
      camera.position.multiplyScalar(1.8 * data.reach_mm);
      controls.update();
      render();
    }

    function fit() {
      const { clientWidth: width, clientHeight: height } = $("stage");
      renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
      renderer.setSize(width, height, false);
      camera.aspect = width / height;
      camera.updateProjectionMatrix();
      render();
    }

    function render() {
      renderer.render(scene, camera);
    }

    function places(text) {
      const tenths = new Int16Array(bytes(text));
      const out = new Float32Array(tenths.length);
      for (let i = 0; i < out.length; i += 3) {
        out[i] = tenths[i] / 10;
        out[i + 1] = -tenths[i + 1] / 10;
        out[i + 2] = -tenths[i + 2] / 10;
      }
      return out;
    }

    function draw(frame) {
      const there = Boolean(frame.vertices);
      const cloud = places(frame.points);
      dots.geometry.dispose();
      dots.geometry = new THREE.BufferGeometry();
      dots.geometry.setAttribute("position", new THREE.BufferAttribute(cloud, 3));
      dots.geometry.setAttribute("color", new THREE.BufferAttribute(byDepth(cloud, there), 3));
      dots.visible = $("points").checked && cloud.length > 0;
      if (there) {
        hand.geometry.setAttribute("position", new THREE.BufferAttribute(places(frame.vertices), 3));
        hand.geometry.computeVertexNormals();
        pose(places(frame.joints));
      }
      hand.visible = there && $("mesh").checked;
      sticks.visible = balls.visible = there && $("bones").checked;
      // Without a hand there is the whole frame to see, which is larger.
      const reach = cloud.reduce((most, place) => Math.max(most, Math.abs(place)), 1);
      const shrunk = there || !$("follow").checked ? 1 : Math.min(1, (0.7 * data.reach_mm) / reach);
      world.scale.setScalar(shrunk);
      const [x, y, z] = $("follow").checked ? [0, 0, 0] : frame.origin_mm.map((place, k) => place - data.origin_mm[k]);
      world.position.set(x, -y, -z);
      $("nothing").textContent = "There is nothing in this frame.";
      $("nothing").hidden = there || cloud.length > 0;
      render();
    }

    function pose(joints) {
      const at = (joint) => new THREE.Vector3().fromArray(joints, 3 * joint);
      const upright = new THREE.Vector3(0, 1, 0);
      const matrix = new THREE.Matrix4();
      bones.forEach(([parent, child], bone) => {
        const [start, end] = [at(parent), at(child)];
        const along = end.clone().sub(start);
        const turn = new THREE.Quaternion().setFromUnitVectors(upright, along.clone().normalize());
        const middle = start.add(end).multiplyScalar(0.5);
        sticks.setMatrixAt(bone, matrix.compose(middle, turn, new THREE.Vector3(1, along.length(), 1)));
      });
      for (let joint = 0; joint < colours.length; joint++) {
        balls.setMatrixAt(joint, matrix.makeTranslation(at(joint)));
      }
      sticks.instanceMatrix.needsUpdate = balls.instanceMatrix.needsUpdate = true;
    }

    function paint([red, green, blue]) {
      return new THREE.Color().setRGB(red / 255, green / 255, blue / 255, "srgb");
    }

    function byDepth(cloud, there) {
      // Near is bright and warm, far dark and cold, as in the project's pictures.
      const stops = [[255, 226, 120], [240, 110, 60], [120, 60, 150], [60, 60, 110]].map(paint);
      const out = new Float32Array(cloud.length);
      const range = there ? 1.6 * data.reach_mm : 2000;
      const mixed = new THREE.Color();
      for (let i = 0; i < cloud.length; i += 3) {
        const far = Math.min(Math.max(0.5 - cloud[i + 2] / range, 0), 1) * (stops.length - 1);
        const first = Math.min(Math.floor(far), stops.length - 2);
        mixed.lerpColors(stops[first], stops[first + 1], far - first).toArray(out, i);
      }
      return out;
    }
  }
})();

export {
  AmbientLight, BufferAttribute, BufferGeometry, CanvasTexture, Color, CylinderGeometry, DirectionalLight, DoubleSide, DynamicDrawUsage,
  Group, InstancedMesh, Matrix4, Mesh, MeshLambertMaterial, PerspectiveCamera, Points, PointsMaterial, Quaternion, Scene,
  SphereGeometry, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

// The keys of an Excalidraw element: which ones each kind has, what an absent one stands for, and where each is kept in
// the document. The server's import and export have the same table.

import { type Plain, isList, isMap, isNumber, isText } from '../document/values'

/** Kinds that Excalidraw can draw. Others stay in the document, untouched and not shown. */
export const KINDS: ReadonlySet<string> = new Set([
  'rectangle',
  'diamond',
  'ellipse',
  'text',
  'line',
  'arrow',
  'freedraw',
  'image',
  'frame',
  'magicframe',
  'iframe',
  'embeddable'
])

export const LENGTHS: ReadonlySet<string> = new Set(['x', 'y', 'width', 'height'])

/** Excalidraw's name of a binding -> name in the document's `bindings`. */
export const BINDINGS: Readonly<Record<string, string>> = {
  startBinding: 'start',
  endBinding: 'end',
  boundElements: 'bound'
}

type Check = (value: unknown) => boolean

/** Properties that hold a value as it stands, with the shape it must have; what has another shape goes to `extra`. */
export const PLAIN: Readonly<Record<string, Check>> = {
  angle: isNumber,
  strokeColor: isText,
  backgroundColor: isText,
  fillStyle: isText,
  strokeWidth: isNumber,
  strokeStyle: isText,
  roughness: isNumber,
  opacity: isNumber,
  text: isText,
  fontSize: isNumber,
  fontFamily: isNumber,
  textAlign: isText,
  containerId: isText,
  locked: (value) => typeof value === 'boolean',
  link: isText,
  frameId: isText,
  groupIds: (value) => isList(value) && value.every(isText)
}

/**
 * Keys that are never written: Excalidraw's own counters and places in its list, and what it only needs while drawing.
 * Their values in a file that was imported stay as they are.
 */
export const UNWRITTEN: ReadonlySet<string> = new Set([
  'id',
  'type',
  'version',
  'versionNonce',
  'updated',
  'index',
  'status',
  'lastCommittedPoint'
])

/** What an absent key stands for, where that does not depend on the element. */
const COMMON: Readonly<Record<string, Plain>> = {
  x: 0,
  y: 0,
  angle: 0,
  strokeColor: '#1e1e1e',
  backgroundColor: 'transparent',
  fillStyle: 'solid',
  strokeWidth: 2,
  strokeStyle: 'solid',
  roughness: 1,
  opacity: 100,
  groupIds: [],
  frameId: null,
  roundness: null,
  isDeleted: false,
  boundElements: [],
  link: null,
  locked: false
}

const LINE: Readonly<Record<string, Plain>> = {
  lastCommittedPoint: null,
  startBinding: null,
  endBinding: null,
  startArrowhead: null,
  endArrowhead: null
}

const OWN: Readonly<Record<string, Readonly<Record<string, Plain>>>> = {
  text: {
    text: '',
    fontSize: 20,
    fontFamily: 5,
    textAlign: 'left',
    verticalAlign: 'top',
    containerId: null,
    autoResize: true,
    lineHeight: 1.25
  },
  line: LINE,
  arrow: { ...LINE, endArrowhead: 'arrow', elbowed: false },
  freedraw: { pressures: [], lastCommittedPoint: null },
  image: { fileId: null, status: 'saved', scale: [1, 1], crop: null },
  frame: { name: null },
  magicframe: { name: null }
}

const tables = new Map<string, Readonly<Record<string, Plain>>>()

/** Defaults of a kind by key. */
export function defaultsOf(kind: string): Readonly<Record<string, Plain>> {
  let table = tables.get(kind)
  if (!table) {
    table = { ...COMMON, ...OWN[kind] }
    tables.set(kind, table)
  }
  return table
}

const oneOf =
  (...names: string[]): Check =>
  (value) =>
    names.includes(value as string)
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)
const isBinding: Check = (value) =>
  isMap(value) && isText(value.elementId) && isNumber(value.focus) && isNumber(value.gap)
export const isBound = (value: unknown): value is { readonly id: string; readonly type: string } =>
  isMap(value) && isText(value.id) && isText(value.type)
const CROP = ['x', 'y', 'width', 'height', 'naturalWidth', 'naturalHeight']

/**
 * Shapes that Excalidraw relies on. A value of another shape, which any Yjs client may write, is shown as the default; in
 * the document it stays as it is.
 */
export const SHOWABLE: Readonly<Record<string, Check>> = {
  ...PLAIN,
  fillStyle: oneOf('hachure', 'cross-hatch', 'solid', 'zigzag'),
  strokeStyle: oneOf('solid', 'dashed', 'dotted'),
  strokeWidth: (value) => isNumber(value) && value > 0,
  roughness: (value) => isNumber(value) && value >= 0,
  opacity: (value) => isNumber(value) && value >= 0 && value <= 100,
  fontSize: (value) => isNumber(value) && value > 0,
  textAlign: oneOf('left', 'center', 'right'),
  verticalAlign: oneOf('top', 'middle', 'bottom'),
  containerId: orNull(isText),
  link: orNull(isText),
  frameId: orNull(isText),
  fileId: orNull(isText),
  name: orNull(isText),
  seed: isNumber,
  originalText: isText,
  lineHeight: (value) => isNumber(value) && value > 0,
  autoResize: (value) => typeof value === 'boolean',
  simulatePressure: (value) => typeof value === 'boolean',
  elbowed: (value) => typeof value === 'boolean',
  roundness: orNull((value) => isMap(value) && isNumber(value.type)),
  startArrowhead: orNull(isText),
  endArrowhead: orNull(isText),
  startBinding: orNull(isBinding),
  endBinding: orNull(isBinding),
  boundElements: orNull((value) => isList(value) && value.every(isBound)),
  scale: (value) => isList(value) && value.length === 2 && value.every(isNumber),
  crop: orNull((value) => isMap(value) && CROP.every((key) => isNumber(value[key]))),
  customData: isMap,
  pressures: (value) => isList(value) && value.every(isNumber),
  points: (value) =>
    isList(value) && value.every((point) => isList(point) && point.length >= 2 && point.every(isNumber))
}

export { type Dictionary, type Language, languageOf } from './i18n'
export { PanseoBoard, type PanseoBoardProps } from './PanseoBoard'

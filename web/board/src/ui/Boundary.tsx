import { Component, type ReactNode } from 'react'

import { WordsContext } from '../i18n'

/** Where its content fails while it is drawn, it says so, and what is around stays. */
export class Boundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
  static override contextType = WordsContext
  declare context: React.ContextType<typeof WordsContext>
  override state = { hasFailed: false }

  static getDerivedStateFromError(): { hasFailed: boolean } {
    return { hasFailed: true }
  }

  override render(): ReactNode {
    if (!this.state.hasFailed) return this.props.children
    return (
      <div className="panseo-comments" role="alert">
        <p>{this.context.why.fault}</p>
        <button type="button" className="panseo-text-button" onClick={() => location.reload()}>
          {this.context.loadAgain}
        </button>
      </div>
    )
  }
}

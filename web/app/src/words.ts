// Words of the start page. The board has its own.

const en = {
  tagline: 'A board for the whole class.',
  intro: 'Write and draw together: everybody sees every stroke while it is drawn.',
  promise: 'What says “saved” is on disk and stays there, even when the network is not so good.',
  newBoard: 'New board',
  boardTitle: 'Title of the board',
  titleHint: 'e.g. Fractions, class 5-2',
  untitled: 'Untitled board',
  create: 'Make board',
  join: 'Join',
  joinHint: 'Code or link from your teacher',
  name: 'Your name',
  nameHint: 'What others see beside your pointer',
  recent: 'Recent boards',
  nothingYet: 'No boards yet',
  nothingYetHint: 'Make one, or join with the code your teacher gives you. Your boards then wait here.',
  loading: 'Looking for your boards…',
  again: 'Try again',
  developers: 'For developers',
  api: 'API',
  health: 'Server state',
  language: 'Language',
  needName: 'Type your name first, so that others know who draws.',
  needCode: 'Type the code you were given: 8 letters and digits.',
  badCode: 'There is no board with this code. Check the letters, or ask for the code again.',
  expired: 'This code has expired. Ask your teacher for a new one.',
  needLogin: 'This server wants a log-in. Open the personal link you got from your school.',
  badLogin: 'Your log-in has ended. Open the personal link from your school again.',
  notAllowed: 'Your log-in does not let you make boards. Ask for a link to a board.',
  tooOften: 'Too many attempts. Wait a minute and try again.',
  noServer: 'The server cannot be reached. Check the network and try again.',
  failed: 'That did not work. Try again in a moment.',
  today: 'today',
  yesterday: 'yesterday'
}

export type Words = typeof en

const ko: Words = {
  tagline: '온 교실이 함께 쓰는 칠판.',
  intro: '함께 쓰고 그리세요. 누가 긋는 선이든 긋는 동안 모두에게 보입니다.',
  promise: '“저장됨”으로 표시된 것은 디스크에 있으며, 네트워크가 나빠도 사라지지 않습니다.',
  newBoard: '새 칠판',
  boardTitle: '칠판 제목',
  titleHint: '예: 분수의 덧셈, 5학년 2반',
  untitled: '제목 없는 칠판',
  create: '칠판 만들기',
  join: '들어가기',
  joinHint: '선생님이 알려 준 코드나 링크',
  name: '이름',
  nameHint: '다른 사람에게 보이는 이름',
  recent: '최근 칠판',
  nothingYet: '아직 칠판이 없습니다',
  nothingYetHint: '새로 만들거나 선생님이 알려 준 코드로 들어가세요. 다녀온 칠판은 여기에 모입니다.',
  loading: '칠판을 찾는 중…',
  again: '다시 시도',
  developers: '개발자용',
  api: 'API',
  health: '서버 상태',
  language: '언어',
  needName: '누가 그리는지 알 수 있도록 이름을 먼저 적어 주세요.',
  needCode: '받은 코드를 적어 주세요. 글자와 숫자 8개입니다.',
  badCode: '이 코드의 칠판이 없습니다. 글자를 확인하거나 코드를 다시 물어보세요.',
  expired: '기한이 지난 코드입니다. 선생님께 새 코드를 받으세요.',
  needLogin: '로그인이 필요한 서버입니다. 학교에서 받은 개인 링크로 들어오세요.',
  badLogin: '로그인이 끝났습니다. 학교에서 받은 개인 링크를 다시 열어 주세요.',
  notAllowed: '이 로그인으로는 칠판을 만들 수 없습니다. 칠판 링크를 받아 들어가세요.',
  tooOften: '시도가 너무 많았습니다. 1분 뒤에 다시 해 주세요.',
  noServer: '서버에 연결할 수 없습니다. 네트워크를 확인하고 다시 시도해 주세요.',
  failed: '처리하지 못했습니다. 잠시 뒤에 다시 시도해 주세요.',
  today: '오늘',
  yesterday: '어제'
}

export type Language = 'ko' | 'en'

/** From `?lang`, then the choice made before, then the browser. */
export function language(): Language {
  const asked = new URLSearchParams(location.search).get('lang')
  if (asked === 'ko' || asked === 'en') return asked
  try {
    const chosen = localStorage.getItem('panseo.lang')
    if (chosen === 'ko' || chosen === 'en') return chosen
  } catch {
    // Forbidden: the browser decides.
  }
  return navigator.language.startsWith('ko') ? 'ko' : 'en'
}

export const words: Record<Language, Words> = { ko, en }

"""Word patterns around option labels: what announces, affirms, denies or precedes a label.

Separate from `option_labels`, which combines them, to keep both modules short. They cover English,
and of other languages the few words with which models announce an answer. No pattern names a
letter, so all letters are treated alike.
"""

import re
from typing import Final

CJK: Final = "\u3040-\u30ff\u3131-\u318e\u3400-\u9fff\uac00-\ud7a3"
"""Characters of Chinese, Japanese and Korean, for a character class."""

_WORD: Final = rf"[^\W_{CJK}]"
"""A letter or digit of a script that separates words by spaces."""

LETTER: Final = re.compile(
    rf"(?<!{_WORD})(?<![^\W_]['./&-])[A-Za-z](?!{_WORD})(?!['-][^\W_])(?!\.[A-Za-z](?![A-Za-z]))"
    r"(?![+#])(?![/&][^\W_])"
)
"""A single letter that is not part of a word, an abbreviation or a name such as ``C++``."""

CLOSED: Final = re.compile(r"[ \t]*[)\]}>]+")
"""Closing brackets after a label."""

_LINK_WORDS: Final = (
    "answer answers option options choice choices letter letters response solution verdict "
    "selection conclusion result prediction guess pick picks final is it are was were be "
    "being been isn't aren't wasn't it's that's i'd choose chose choosing chosen select "
    "selected selecting pick picked picking go with for say think believe guess prefer favor "
    "favour conclude get and or nor but not neither either both only just so thus hence "
    "therefore then that because since as if whether why while although though unless except "
    "excluding exclude excludes excluded eliminate eliminates eliminated eliminating reject "
    "rejects rejecting rejected dismiss discard out than over versus vs unlike like to of in "
    "on by from at matches match fits fit supports support suggests suggest indicates "
    "toward towards vote gives giving indicate means leaves leaving besides also perhaps maybe "
    "no yes wait actually anything all to la el es est ist son e é è y o und oder et ou respuesta "
    "antwort réponse resposta risposta opción opção opzione ответ вариант"
)
LINKS: Final = frozenset(_LINK_WORDS.split())
"""Words that may directly precede a label; after any other word it is part of a name."""

LAST_WORD: Final = re.compile(rf"{_WORD}+(?:'{_WORD}+)*\Z")
"""The last word before a label."""

TITLE: Final = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st)\.[ \t]*\Z", re.IGNORECASE)
"""A title directly before a letter: ``Mr. B`` is a name."""

_POSITIVE: Final = (
    r"(?:(?:indeed|also|therefore|\w+ly)\s+)*"
    r"(?:correct|right|true|accurate|best|most|"
    r"(?:the|my)\s+(?:\w+\s+){0,3}?(?:answer|choice|option|one|match|correct|right|best|most)|"
    r"the\s+(?:correct|right|best|most|closest|only|final|winner))\b"
)
CONTINUES: Final = re.compile(
    r"""
    (?:
        (?:is|isn't|are|aren't|can't|cannot|doesn't|wouldn't|couldn't|won't|does|seems?|appears?
          |looks?|fits?|match(?:es)?|shows?|describes?|depicts?|states?|says?|makes|remains?|works?
          |contradicts?|fails?|misses|ignores|lacks)
      | (?:because|since|as|due|given|and|or|nor|but|though|although|while|whereas|than|if|unless
          |in|on|at|of|from|to|by|with|for|over|versus|vs|instead|unlike|here|there|that|which
          |where|when|it|he|she|they|we|this|these|the|a|an|my|our|its|his|her|their|so|thus|hence|therefore)
      | (?:can|would|could|should|might|may|must|will|has\s+to)\s+(?:not|be\s+(?:the|my|not|correct
          |right|true|accurate|best|better|most|more|wrong|incorrect|false|ruled|excluded))
      | (?:was|were)\s+(?:correct|right|wrong|not|ruled|excluded)
      | rather\s+than | not\s+(?:[A-Za-z]\b|because|since)
      | best\s+(?:describes|matches|fits|represents|captures|explains|answers|reflects|summari\w+)
      | (?:no|yes|wrong|false|incorrect)\b(?=[ \t]*(?:[.,;\n]|\Z))
      | (?:est|ist|es|son|porque|parce|weil|und|oder|et|ou|y|o)
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Words after a label that cannot follow an article, so that ``A man`` and ``B team`` do not
match.
"""

STATEMENT: Final = re.compile(
    r"(?:is|are|isn't|aren't|can|can't|cannot|does|do|doesn't|would|wouldn't|could|couldn't|should"
    r"|might|may|must|will|won't|seems?|appears?|looks?|fits?|match(?:es)?|shows?|describes?"
    r"|depicts?|states?|says?|makes|remains?|works?|was|were|contradicts?|fails?|misses|ignores"
    r"|lacks|best)\b",
    re.IGNORECASE,
)
"""A verb after a label: the clause is about the label, and chooses it or not."""

FITS: Final = re.compile(
    r"(?:seems|appears|looks|fits|matches|remains|works|is\s+(?:better|left|likely|more)"
    r"|must\s+be|makes\s+(?:the\s+most\s+)?sense|best)\b",
    re.IGNORECASE,
)
"""Text after a chosen label, less firm than `AFFIRMED`."""

AFFIRMED: Final = re.compile(
    rf"""
      (?:is|was|seems|looks|appears(?:\s+to\s+be)?|(?:must|should|would|has\s+to)\s+be)\s+{_POSITIVE}
    | \s*[)\]:=\u2013\u2014-]*\s*(?:yes|correct|right|true|[\u2713\u2714\u2705\u2611])
      (?=[ \t]*(?:[.,;!)\n]|\Z))
    | \s*(?:是|项|項)?(?:正确|正確|对|對)
    | \s*[가이]\s*(?:정답|맞|올바)
    | \s*が(?:正解|正し)
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text after a label that is declared right."""

DENIED_AFTER: Final = re.compile(
    r"""
      \s*(?:is|are|was|were|can|could|does|do|did|would|will|seems?|looks?|must|should|has|have)
      (?:
          n't\b
        | (?:\s+(?:all|both|also|therefore|thus|be|\w+ly))*
          \s+(?:not|never|no|wrong|incorrect|false|ruled|excluded|eliminated|impossible|unlikely
               |inaccurate|invalid|out|less|untrue|rejected|unsupported|irrelevant|contradicted)\b
      )
    | \s*(?:can't|cannot|contradicts?|fails?|misses|ignores|lacks)\b
    | \s*[)\]:=\u2013\u2014-]*\s*(?:no|wrong|false|incorrect|not\s+\w+
                                  |[\u2717\u2718\u274c\u2716])(?=[ \t]*(?:[.,;!)\n]|\Z))
    | \s*(?:项|項)?(?:都|均)?(?:不|是不|是?错|是?錯|有误)
    | \s*[가이은는]?\s*(?:아니|아닙|틀)
    | \s*(?:ではな|じゃな|は(?:間違|誤|違))
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text after a label that is declared wrong."""

_FILL: Final = r"""
    (?:
        [\s:([{<]+
        (?:(?:the|be|been|is|was|it|it's|that|this|think|believe|say|said|choose|pick|select|go
             |with|answers?|options?|choices?|letters?|correct|right|best|either|any|both|to|of
             |would|should|could|sure|certain|convinced|case|really|quite|necessarily
             |match|fit|support|show|mention|describe|look|seem|like|for)\b)
    )*
    [\s:([{<]*\Z
"""
DENIED_BEFORE: Final = re.compile(
    rf"""
    (?:
        \b(?:not(?!\s+only)|nor|neither|never|except|excluding|excludes?|excluded
            |eliminat(?:e|es|ed|ing)|(?:rule|rules|ruled|ruling)\s+out|reject(?:s|ed|ing)?
            |dismiss(?:es|ed|ing)?|discard(?:s|ed|ing)?|instead|rather\s+than|over|versus|vs
            |unlike|besides|cannot|anything\s+but|all\s+but|without)\b
      | (?<!none\ other\ )(?<!no\ other\ )\bthan\b
      | n't\b
      | \b(?:other|wrong|incorrect|remaining|false|worst)\s+(?:answer|option|choice)s?
        (?:\s+(?:is|are|was|were))?\b
      | (?:不是|并非|並非|不选|不選|而非|除了|排除|比)(?:选项|選項)?
    )
    {_FILL}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text before a label that is denied, or that loses a comparison."""

_SURELY: Final = r"""
    (?:[\s:([{<]*
       (?:the|la|el|option|choice|letter|answer|correct|right|most|therefore|thus|just|that
         |as\s+follows|indeed|\w+ly)\b)*
    [\s:([{<]*\Z
"""
ANNOUNCED: Final = re.compile(
    rf"""
    (?:
        (?<!other\ )\b(?:answer|option|choice|selection|solution|response|verdict|conclusion|result
           |prediction|guess|pick|letter|respuesta|antwort|r\u00e9ponse|resposta|risposta
           |\u043e\u0442\u0432\u0435\u0442)\b
        [^.:;=!?\n]{{0,60}}?
        (?:\b(?:is|was|(?<!could\ )(?<!might\ )(?<!may\ )be|being|es|est|ist|\u00e9|\u00e8)\b
          |[:=\u2013\u2014\u2192-]+)
      | \b(?:choose|chose|choosing|select|selected|selecting|picked|picking|pick
            |(?:go|going|went|answer)\s+(?:with|for)|vote(?:\s+for)?|(?:opt|opted)\s+for|lean(?:ing)?\s+towards?|settle\s+on
            |conclude|guess)\b
      | \b(?:correct|right|best|final)\s+(?:answer|option|choice|letter)\b
      | \b(?:wait|actually|correction|second\s+thought)\b[\w\s,;:'\u2013\u2014-]{{0,30}}
      | \bbut\s+(?:in\s+fact\s+)?(?:it|that|this)(?:'s|\s+is|\s+(?:must|should)\s+be)\b
      | (?:答案|正解|정답|답|答え|回答|选择|選擇|选(?!项)|選(?!項))
        (?:应该|應該|应|應|是|为|為|选项|選項|选|選|は|が|은|는|[\s:])*
    )
    {_SURELY}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text before a label that is announced as the answer."""

STATED: Final = re.compile(
    rf"""
    (?:\b(?:(?<!so\ )is|it's|that's|(?<!could\ )(?<!might\ )(?<!may\ )be|so
         |gives|giving|thus|hence|therefore|consequently|leaves|leaving|matches|match|fits|supports|suggests|indicates|think|believe|say|but|with)\b
      | \b(?:likely|probably|definitely|certainly|clearly|surely)\b)
    [\s,]*{_SURELY}
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text before a label that is stated."""

SUPPOSED: Final = re.compile(
    r"\b(?:if|whether|unless|suppose|assuming|assume)"
    r"(?:\s+(?:the|option|choice|answer|only|it|is))*\Z",
    re.IGNORECASE,
)
"""Text before a label that is only hypothetical."""

BEGINS: Final = re.compile(
    r"\W*(?:(?:the|my|final|correct|best|right)\s+)*(?:answer|option|choice|letter)?[\s:([{<-]*\Z",
    re.IGNORECASE,
)
"""The only text allowed before a label with which the answer begins."""

CJK_BEFORE: Final = re.compile(
    r"(?:答案|正解|정답|답|答え|回答|选|選|择|擇|项|項|지|肢|是|为|為|应|應|非|除了|排除|比|は|が|なく|より|은|는"
    r"|가|이|아니라|보다|옵션|和|或|と|因此|所以|故)\Z"
)
"""Chinese, Japanese and Korean words that may directly precede a label."""

CJK_AFTER: Final = re.compile(
    r"(?:正|对|對|是|项|項|选|選|因|由|不|错|錯|有误|和|或|的|更|最|符|还是|還是|입|이|가|은|는|를|을|다"
    r"|번|와|과|예요|라고|로\b|です|では|だ|が|は|を|と|じゃ|か|の方|に(?:なり|し)"
    r"|吧|都|均|才(?:是|对|對|正)|而(?:不|非)|比(?:其|[A-Za-z]))"
)
"""Those that may directly follow it; in other words, such as ``B队``, it is a name."""

JOINT: Final = re.compile(
    r"""
    [)\]}>]* [ \t]* (?:[.:]?[ \t]*(?=\b(?:and|n?or)\b))?
    (?:
        (?: (?:,|/|&|\+|;|\||:|=|>|<|\u3001|和|或|と|及|와|과|또는)
          | \b(?:and|n?or|und|oder|et|ou|y|to|through|vs\.?|versus)\b
          | 还是|還是 )
        [ \t]*
        (?:\b(?:maybe|perhaps|possibly|probably|even|also|and|n?or|both|either)\b [ \t]*)*
    )*
    (?:(?:(?:options?|letters?|choices?|answers?)\b|选项?|選項?) [ \t]*)?
    [ \t(\[{<]* \Z
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Text between two labels that are named together."""

SINGULAR: Final = re.compile(
    r"[)\]}>]*\s+(?:is|was|has|does|can|can't|cannot|isn't|wasn't|doesn't|remains|must|should|would"
    r"|seems|fits|matches|looks|shows|describes|depicts|says|lacks|contradicts)\b",
    re.IGNORECASE,
)
"""A verb after the last of several labels: a new clause may begin with that label."""

DENIAL: Final = re.compile(r"\b(?:not?|nor|never|neither|none|cannot)\b|n't\b", re.IGNORECASE)
"""Any negation."""

SENTENCE_START: Final = re.compile(r"(?:\A|[\n.;!?])[ \t(\[]*(?:option |choice )?[(\[]?\Z", re.I)
"""End of the text before a label that begins a sentence or a line."""

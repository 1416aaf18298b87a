"""Questions the demo model must decline, and the word stock they are drawn from.

``LEARN`` and ``HELD`` phrasings never overlap; neither do the learned and kept-back words.
Slots: ``{noun}`` ``{nouns}`` ``{verb}`` ``{adj}`` ``{place}`` ``{person}`` ``{year}`` ``{made}``.
"""

NOUNS = """computer engine violin guitar piano bridge castle tower rocket satellite volcano desert forest island harbor
market bakery kitchen recipe soup bread cheese pizza pasta salad coffee tea wine beer chocolate cookie cake sugar salt
pepper carpet curtain window door ladder hammer nail screw bicycle car truck train airplane ship submarine tractor
camera phone television radio battery magnet laser microscope telescope clock watch calendar book novel poem song movie
opera painting statue museum library school university hospital doctor lawyer teacher farmer soldier king queen emperor
president minister senator judge pirate wizard dragon unicorn ghost robot alien football tennis chess hockey cricket
marathon medal trophy stock bond bank tax loan mortgage budget salary virus bacteria cell gene atom electron neutron
photon galaxy comet asteroid crystal diamond ruby silver copper iron oxygen nitrogen carbon helium plastic rubber glass
paper ink leather cotton silk wool shirt jacket shoe hat glove ring necklace perfume soap shampoo mirror towel pillow
blanket mattress sofa lamp candle match fire smoke storm tornado earthquake tide current glacier canyon cave swamp
beach cactus rose tulip oak pine mushroom potato tomato onion garlic carrot cabbage pumpkin apple orange lemon cherry
grape melon shark dolphin octopus turtle crocodile lizard snake frog eagle owl parrot penguin ostrich camel kangaroo
koala panda wolf fox bear rabbit squirrel mouse rat bat hedgehog donkey goat sheep pig duck goose chicken butterfly
beetle mosquito worm snail jellyfish coral password file folder server database compiler keyboard screen printer
network website email algorithm function variable language grammar verb sentence letter word number equation theorem
philosophy religion democracy revolution war treaty empire republic economy inflation climate energy pollution""".split()
NOUNS_HELD = """accordion backpack cathedral dishwasher elevator flute garage helicopter igloo jigsaw keychain lighthouse
motorcycle notebook orchestra pyramid quilt refrigerator skateboard trampoline umbrella vaccine windmill xylophone yacht
zeppelin avocado broccoli cinnamon dumpling espresso falcon giraffes hamster iguana jaguar""".split()
VERBS = """build buy sell cook bake clean wash paint draw write read sing play win lose fix repair break open close
start stop grow plant water feed train teach learn study measure weigh count sort find lose hide catch throw kick
drive ride fly sail climb swim run walk dance act film record print copy delete install update download upload send
receive mix boil fry roast freeze melt cut sew knit wash iron fold pack ship store invest borrow lend save spend""".split()
VERBS_HELD = "assemble polish translate compress juggle decorate ferment inspect negotiate sharpen".split()
ADJS = """best worst oldest newest richest poorest cheapest strongest weakest loudest brightest darkest heaviest
smartest funniest saddest rarest deadliest cutest ugliest famous popular expensive modern ancient secret hidden
dangerous safe healthy tasty spicy sweet bitter sour wooden golden electric magnetic nuclear digital""".split()
ADJS_HELD = "sturdiest noisiest laziest priciest coziest most-visited tastiest".split()
PLACES = """Nepal Bolivia Peru Chile Argentina Colombia Ecuador Panama Jamaica Haiti Iceland Denmark Belgium
Switzerland Hungary Romania Bulgaria Serbia Croatia Slovenia Slovakia Ukraine Belarus Latvia Lithuania Estonia Georgia
Armenia Iran Iraq Syria Lebanon Israel Jordan Yemen Oman Qatar Pakistan Afghanistan Bangladesh Thailand Vietnam Laos
Cambodia Malaysia Indonesia Mongolia Nigeria Ghana Senegal Mali Chad Sudan Ethiopia Somalia Uganda Tanzania Zambia
Angola Namibia Botswana Madagascar Morocco Algeria Tunisia Libya Fiji Samoa Texas Ohio Alaska Bavaria Siberia
Atlantis Narnia Mordor Wakanda Gotham""".split()
PLACES_HELD = """Uruguay Paraguay Venezuela Guatemala Honduras Luxembourg Malta Cyprus Albania Moldova Kuwait
Uzbekistan Zimbabwe Mozambique Rwanda Tonga Scotland Oregon Patagonia Wonderland""".split()
PEOPLE = """Napoleon Einstein Newton Mozart Beethoven Picasso Cleopatra Caesar Lincoln Washington Gandhi Churchill
Darwin Tesla Edison Curie Galileo Columbus Magellan Plato Aristotle Socrates Homer Dante Tolstoy Dickens Hemingway
Elvis Madonna Batman Superman Zeus Thor Hamlet Dracula Merlin Robin Arthur Victoria Nixon Kennedy""".split()
PEOPLE_HELD = """Vivaldi Kepler Rembrandt Chopin Voltaire Gutenberg Houdini Sherlock Odysseus Nefertiti""".split()

SYLLABLES = "ba be bo da de do fa fi ga go ka ki ko la le lo ma mi mo na ne no pa po ra ri ro sa se so ta te to va vi za zo zu dri gra plo sti tru vel nor mar ton wick".split()

LEARN = [
    "[what is|what's|name|tell me] the capital of {place}", "capital of {place}", "which city is the capital of {place}",
    "{place} capital", "what is the capital city of {place}", "do you know the capital of {place}", "capital of {made}",
    "what is the capital of {made}", "tell me the capital of {made}", "{made}'s capital", "the capital of {made} is",
    "what [is|are] [a|an|the|] {noun}", "what are {nouns}", "what does {made} mean", "what is {made}", "who is {made}",
    "who is {person}", "who was {person}", "tell me about {person}", "tell me [something |more |a bit |]about {nouns}",
    "when was {person} born", "when did {person} die", "where was {person} born", "what did {person} [do|invent|write]",
    "how old [is|was] {person}", "what is {person} famous for", "who is the [wife|husband|son|father] of {person}",
    "who invented [the|] {noun}", "who discovered {nouns}", "who built the {noun} in {place}",
    "who is the [president|king|queen|prime minister|leader|ruler] of {place}", "who won the {noun} in {year}",
    "who won the world cup in {year}", "who wrote the {noun} of {made}", "who wrote {made}", "who painted the {noun}",
    "who sang the {noun} song", "who directed the {noun} movie", "who runs {made}", "who owns the {noun}",
    "how many people live in {place}", "what is the population of {place}", "how big is {place}", "where is {place}",
    "which language do they speak in {place}", "what is the currency of {place}", "how do i get to {place}",
    "how far is it to {place}", "is {place} [nice|dangerous|big|in europe|an island]", "what should i see in {place}",
    "what happened in {year}", "what happened in {place} in {year}", "when did {place} join the war",
    "when was the {noun} invented", "when did the {noun} [start|end|happen]", "when is [easter|the next {noun}]",
    "why [is|are] [the|] {nouns} [so |]{adj}", "why do {nouns} {verb}", "why did {person} {verb} the {noun}",
    "why does the {noun} {verb}", "how does a {noun} work", "how do {nouns} work", "how is a {noun} made",
    "how do i {verb} a {noun}", "how can i {verb} [my|the|a] {noun}", "how do you {verb} {nouns}", "how to {verb} a {noun}",
    "[what's|what is] the best way to {verb} a {noun}", "should i {verb} [my|a|the] {noun}", "can i {verb} a {noun}",
    "can you {verb} [a|my|the] {noun} [for me|]", "please {verb} [my|the|a] {noun}", "{verb} a {noun} for me",
    "where can i {verb} a {noun}", "where can i find {nouns}", "where do {nouns} live", "where is the {adj} {noun}",
    "which {noun} is [the |]{adj}", "what is the {adj} {noun}", "what is the {adj} {noun} in {place}",
    "which {noun} should i {verb}", "how much does a {noun} cost", "what is the price of {nouns}", "how tall is the {noun}",
    "how long does a {noun} live", "how heavy is a {noun}", "how fast is a {noun}", "how many {nouns} are there",
    "how many legs does a {made} have", "how many {nouns} does {person} have", "what color is a {made}",
    "what sound does a {made} make", "what does a {made} eat", "what do {nouns} eat", "what is a baby {made} called",
    "what is the opposite of {made}", "what is the symbol of {made}", "what is the formula of {made}",
    "which planet is [the |]{adj}", "what is the name of my {noun}", "what is my [address|phone number|age|birthday]",
    "what time is it", "what day is it [today|]", "what is the date [today|]", "what year is it", "what's the news [today|]",
    "write [me |]a [poem|story|song|letter|essay] about {nouns}", "tell me a [joke|story|secret]",
    "tell me a story about a {noun}", "sing [me |]a song", "write [some|a] [python|java|code|program] [for {nouns}|]",
    "write a function that {verb}s a {noun}", "translate {noun} [to|into] [french|german|spanish|latin]",
    "how do you say {noun} in [french|german|spanish|italian]", "what is {noun} in [french|spanish]", "spell {made}",
    "give me a recipe for {noun}", "explain [the |]{noun} [to me|]", "explain {nouns}", "describe [a|the] {noun}",
    "define {noun}", "summarize the {noun} [for me|]", "compare a {noun} [and|with] a {noun}", "draw [me |]a {noun}",
    "what is the difference between a {noun} and a {noun}", "is a {noun} better than a {noun}", "are {nouns} {adj}",
    "is the {noun} {adj}", "do {nouns} {verb}", "does the {noun} {verb}", "did {person} {verb} the {noun}",
    "will the {noun} {verb} tomorrow", "what will happen in {year}", "what will the {noun} market do tomorrow",
    "who will win the {noun}", "what is the meaning of [life|{made}]", "do aliens exist", "is there a god",
    "recommend [me |]a {noun}", "give me [some |]advice about {nouns}", "what [movie|book|song] should i [watch|read|hear]",
    "what do you think [of|about] {person}", "what do you think about {nouns}", "what is {a} times {b}",
    "what is {a} divided by {b}", "multiply {a} by {b}", "what is the square root of {a}", "how much is {a} times {b}",
    "{a} * {b}", "{a} / {b}", "divide {a} by {b}", "{a} times {b}", "what is {a} percent of {b}",
    "what is the atomic number of {noun}", "how deep is the {noun}", "how hot is the {noun}", "how old is the {noun}",
    "what is inside a {noun}", "what are {nouns} made of", "what is a {noun} made of", "[what|which] company makes {nouns}",
    "which team won the {noun} [game|match] [yesterday|]", "who is the {adj} [person|man|woman|singer|player] [in {place}|]",
    "my {noun} is broken, what should i do", "i lost my {noun}, where is it", "book [me |]a [flight|hotel] to {place}",
    "order [me |]a {noun}", "call {person}", "send an email to {person}", "set an alarm for {a}", "play some music",
    "open the {noun}", "what is the [distance|flight time] [from {place} |]to {place}", "solve the {noun} equation",
    "what is the speed of [light|sound|a {noun}]", "what causes {nouns}", "can {nouns} {verb}", "list [some|three] {nouns}",
    "name [a|three|some] {adj} {noun}", "what is the {noun} of {place}", "what's the {noun} of {person}",
    "{made} {made} {made}", "{made}", "{made} {made}", "how is {person}", "where is {person}", "have you seen my {noun}",
    "who made the {noun}", "what was {person}'s {noun}", "what are the rules of {noun}", "how long is the {noun}",
    "how long does it take to {verb} a {noun}", "is it {adj} to {verb} a {noun}", "what can i do with a {noun}",
    "which {nouns} are {adj}", "what kind of {noun} is {adj}", "do you know {person}", "do you know how to {verb} a {noun}",
    "i want to {verb} a {noun}", "i would like to know about {nouns}", "what about {nouns}", "i need help with my {noun}",
    "[what is|what's|which is] the [largest|biggest|smallest|longest|highest|fastest|tallest|closest] {noun} [in the world|]", "[largest|biggest|smallest|longest|fastest|tallest] {noun}",
    "which {noun} is the [largest|biggest|smallest|fastest|tallest|closest]", "how many {nouns} [are there |]in a {noun}", "how many {nouns} does a {noun} have", "what colo[u|]r is [the|a] {noun}",
    "what [sound|noise] does a {noun} make", "what is the opposite of {noun}", "what is a baby {noun} called", "what do you call a baby {noun}", "how many legs does a {noun} have", "how many sides does a {noun} have",
    "what is the symbol of {noun}", "who [makes|produces] {nouns}", "where [do {nouns}|does {noun}] come from", "who was the first {noun}", "who was the first [man|person] to {verb} a {noun}", "[which|what] planet has {nouns}",
    "how many moons does {made} have", "at what temperature does {noun} [melt|boil|freeze]", "name the {adj} {noun} in {place}", "which ocean is near {place}", "what is the highest mountain in {place}", "what is the longest river in {place}",
    "which animal is [the |]{adj}", "how many {nouns} are in {place}", "how many hours does a {noun} last", "what is the first {noun}", "who [governs|rules|leads] {place}", "how is {place} [governed|ruled]", "from where is {place} [ruled|governed]", "[which|what] [city|town|river|lake|mountain|sea] is [in|near] {place}", "which city [should i visit|is the biggest|is nice] in {place}",
    "which [was|is] the {adj} {noun} [of all|ever|ever built|ever sold|around]", "what [was|is] the {adj} {noun} ever [built|sold|seen|made]", "[convert|change|turn] {a} {nouns} [to|into|in] {nouns}", "[convert|change] {a} [dollars|pounds|miles|feet|meters] [to|into] [yen|pounds|francs|inches|kilometers]", "how many {nouns} is {a} {nouns}", "what is {a} [miles|pounds|feet] in [kilometers|kilos|meters]",
    "what is the word for a young {noun}", "what colo[u|]r [can|will|should] a {noun} be", "who {verb}s the {noun}", "which {noun} do you [like|prefer|recommend]", "would you {verb} a {noun}", "how [deep|wide|old|heavy|fast|strong|smart] [is|are] {nouns}", "what [did|does|will] {person} {verb}", "where did {person} [live|die|go]", "which {noun} did {person} {verb}",
    "when [will|does|did] the {noun} {verb}", "[did|does|will] {person} [like|have|know] {nouns}", "who is [better|older|stronger], {person} or {person}", "is {person} [dead|real|famous|married|rich]", "what is {person}'s [age|wife|job|real name|height]", "i want a {noun}", "give me a {noun}", "show me a {noun}", "find me a {noun} in {place}", "why is {place} [so |]{adj}", "what do people [do|drink|wear] in {place}",
    "in which year was {person} born", "in what year did the {noun} {verb}", "in which country is {made}",
]
HELD = [
    "any idea what the capital of {place} might be", "which city is {place} governed from", "could you explain how {nouns} work",
    "what's the secret behind the {adj} {noun}", "who was the first person to {verb} a {noun}", "how come {nouns} {verb}",
    "what year did {person} pass away", "give me the biography of {person}", "how many inhabitants does {place} have",
    "how expensive is a {noun}", "is it true that {nouns} can {verb}", "teach me to {verb} a {noun}",
    "what is the history of the {noun}", "i wonder who invented the {noun}", "which is the {adj} {noun} ever made",
    "could you write a haiku about a {noun}", "what happens if i {verb} a {noun}", "what are the ingredients of {made} soup",
    "who plays {person} in the new movie", "at what time does the {noun} open", "how would you {verb} a {noun}",
    "what's the recipe for {noun} pie", "who scored in the {noun} final of {year}", "what exactly is a {made}",
    "where in {place} can i {verb} a {noun}", "what did people in {place} eat in {year}", "is {person} still alive",
    "help me {verb} my {noun}", "could you tell me the price of a {noun}", "what makes a {noun} {adj}",
    "which {noun} would you say is the largest", "how many {nouns} fit in a {noun}", "what colour would a {noun} be", "what are young {nouns} called", "do you know the opposite of {noun}",
    "please convert {a} dollars to euros", "what are {a} multiplied by {b}",
]

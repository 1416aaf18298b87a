"""Phrasings for small talk, identity, sums, weather and follow-ups: learned ones and kept-back ones.

``[a|b]`` is a random choice; ``{slot}`` is filled by the corpus. Small talk and identity entries are
``(reply, must-match, what-the-user-does, learned, held)``.
"""

NAME = "Pebble"

TALK = {
    "hello": ("Hello! I am Pebble. How can I help you?", "hello", "greets me", [
        "hi", "hello", "hey", "hi there", "hello there", "hey there", "hiya", "howdy", "greetings", "yo", "good day",
        "hi pebble", "hello pebble", "hey pebble", "hello [bot|friend|robot|model|you|again|everyone|world]",
        "hi [bot|friend|robot|buddy|again|everyone|all]", "hey [bot|friend|buddy|you|dude]", "oh hi", "well hello",
        "[hola|bonjour|ciao|hallo|aloha]", "hi hi", "hello hello", "heya", "hey hey", "hello, nice to meet you",
        "nice to meet you", "pleased to meet you", "let me say hello", "just saying hi", "i say hello",
    ], ["hello my friend", "hi there, pebble", "hey, hello", "greetings, friend", "hey there buddy", "just wanted to say hello"]),
    "morning": ("Good morning! How can I help you?", "morning", "greets me", [
        "good morning", "morning", "good morning pebble", "good morning [to you|there|friend|everyone|my friend]",
        "a [very |]good morning [to you|]", "morning pebble", "hey good morning", "hello and good morning",
    ], ["good morning, little model", "hi, good morning"]),
    "evening": ("Good evening! How can I help you?", "evening|afternoon", "greets me", [
        "good [evening|afternoon]", "good [evening|afternoon] [pebble|to you|there|friend|everyone]",
        "a [very |]good [evening|afternoon] [to you|]", "evening", "hello and good [evening|afternoon]",
    ], ["good evening, little model", "hi, good afternoon"]),
    "howareyou": ("I am fine, thank you! How are you?", "fine", "asks how I am", [
        "how are you", "how are you [doing|today|doing today|feeling|feeling today|now|this morning]", "how do you do",
        "how's it going", "how is it going", "how are things", "what's up", "whats up", "sup", "how have you been",
        "are you [ok|okay|well|fine|alright|good]", "how do you feel", "how do you feel today", "how's life",
        "how is your day", "how's your day [going|]", "how's everything", "you ok", "everything ok", "how goes it",
        "how are you pebble", "and how are you", "hope you are well",
    ], ["how are you doing, pebble", "how is everything going", "how's your day been", "are you doing well today"]),
    "thanks": ("You are welcome!", "welcome", "thanks me", [
        "thanks", "thank you", "thanks a lot", "thank you [so|very] much", "many thanks", "thx", "ty", "cheers",
        "thanks [pebble|friend|buddy|again|man]", "thank you [pebble|again|friend|for that]", "thanks for [the|your] [help|answer]",
        "thank you for [the|your|all the|all your] [help|answer|time]", "thanks so much", "great, thanks", "ok thanks", "ok thank you",
        "i appreciate it", "much appreciated", "that helps, thanks", "that was helpful", "perfect, thank you", "thanks, that is all",
        "big thanks", "i am grateful", "cool, thanks", "nice, thanks",
    ], ["thank you, that helped", "thanks a bunch", "wonderful, thank you", "many thanks for your help", "i really appreciate that"]),
    "bye": ("Goodbye! See you soon.", "bye", "says goodbye", [
        "bye, have a good [one|day|evening]", "bye and [take care|thank you|good luck]", "have a nice [day|evening], bye", "i have to leave", "i need to go [now|]", "i should go [now|]", "goodbye and thanks", "leaving now", 
        "bye", "goodbye", "bye bye", "good bye", "see you", "see you [later|soon|tomorrow|around|next time]", "see ya", "later",
        "farewell", "take care", "i have to go", "i must go [now|]", "i'm leaving", "i am leaving [now|]", "good night", "gotta go",
        "i'm off", "bye [pebble|friend|for now|then|everyone]", "goodbye [pebble|friend|for now|then]", "ok bye", "talk to you later",
        "catch you later", "have a [nice|good] [day|evening|weekend]", "so long", "until next time", "i am going now", "time to go",
        "thanks, bye", "that's all, goodbye",
    ], ["i have to leave now", "see you later, pebble", "bye, have a nice day", "ok, goodbye friend", "i need to go, bye"]),
    "sorry": ("No problem at all!", "no problem", "says sorry", [
        "sorry", "i'm sorry", "i am [so |very |]sorry", "my bad", "my mistake", "oops", "oops sorry", "excuse me", "pardon me", "apologies",
        "i apologize", "sorry [about that|for that|pebble]", "forgive me", "please forgive me", "my apologies", "oh no, sorry",
    ], ["oh, i am sorry about that", "sorry, my mistake", "i want to apologize"]),
    "praise": ("Thank you! That is kind of you.", "thank", "says something nice", [
        "good one", "good boy", "good [bot|robot|model|pebble]", "nice, good job", "you did a good job", "very well done", "what a [good|smart|clever] [bot|model|robot]", "such a [good|smart|clever] [bot|model|robot]", 
        "you are [great|nice|smart|funny|cute|kind|awesome|clever|amazing|cool|lovely|wonderful|the best|so good|very good]",
        "you're [great|nice|smart|funny|cute|kind|awesome|clever|amazing|cool|lovely|the best]", "i like you", "i love you",
        "good [job|work|bot|answer]", "well done", "nice [job|work|answer|one]", "you did [well|great]", "that was [great|clever|nice]",
        "great job", "i really like you", "bravo", "you are so [smart|nice|cute|funny]", "what a nice answer", "excellent [work|job|]",
    ], ["you are really nice", "well done, pebble", "you're such a clever model", "good job, little one"]),
    "insult": ("I am sorry. I am only a tiny model, but I try.", "sorry", "is not happy with me", [
        "you are [stupid|dumb|bad|useless|wrong|silly|terrible|boring|slow|annoying|an idiot]",
        "you're [stupid|dumb|bad|useless|wrong|silly|terrible|boring|annoying]", "i hate you", "bad [bot|answer|job]",
        "that is wrong", "that's wrong", "that was [bad|wrong|terrible|useless]", "i don't like you", "you suck", "shut up",
        "wrong answer", "you made a mistake", "this is [bad|useless|terrible]", "you know nothing", "not good", "terrible answer",
    ], ["you are really stupid", "that answer was wrong", "you're so useless, pebble"]),
    "sad": ("I am sorry to hear that. I hope it gets better soon.", "sorry to hear", "feels bad", [
        "i am [so |very |really |]sad", "i'm [so |very |]sad", "i feel [sad|bad|terrible|lonely|down|awful|tired|sick|ill]",
        "i am [tired|sick|lonely|angry|afraid|ill|unhappy|worried|bored|stressed]", "i'm [tired|sick|lonely|angry|afraid|unhappy|worried|bored]",
        "i had a bad day", "my day was [bad|terrible|awful]", "i am not [happy|well|ok|feeling well]", "life is hard", "today was a bad day",
        "i am feeling [down|sad|low|bad]", "nobody likes me",
    ], ["i feel so lonely today", "today i am sad", "i'm feeling really tired"]),
    "happy": ("That is great! I am happy for you.", "great", "feels good", [
        "i am [so |very |really |]happy", "i'm [so |very |]happy", "i feel [good|great|happy|wonderful|fantastic|better]",
        "i am [glad|excited|fine|well|good|great|doing well|proud]", "i'm [glad|excited|fine|well|good|great|doing well]",
        "i had a [good|great|nice] day", "my day was [good|great|nice]", "life is good", "today was a [good|great] day", "i am feeling [good|great|happy]",
        "i passed my [test|exam]", "i won", "fine, thanks", "i am fine, thank you", "good, and you",
    ], ["i feel so happy today", "today i am happy", "i'm feeling really great"]),
    "ack": ("Good! Is there anything else?", "anything else", "agrees", [
        "ah ok", "ah i see", "ah, right", "ok i see", "oh ok", "okay then", "yes ok", "alright, i see", "i get it", "no problem", "fair enough", "that is ok", "good to know", "ok, fine", "sure thing", "okay okay", 
        "ok", "okay", "yes", "no", "yep", "nope", "sure", "cool", "nice", "great", "good", "fine", "i see", "alright", "right", "ok then",
        "got it", "understood", "that's fine", "all right", "oh", "ah", "wow", "lol", "haha", "interesting", "perfect", "awesome", "sounds good",
        "makes sense", "oh i see", "ok cool", "ok great", "very good", "k",
    ], ["ah ok, i see", "alright then", "okay, got it"]),
    "test": ("Yes, I am here.", "i am here", "checks that I am here", [
        "i'm testing [you|]", "only testing", "i want to test you", "let me test you", "i am testing you", "just checking if you [work|are there]", "are you alive", 
        "test", "testing", "this is a test", "ping", "are you there", "are you still there", "are you here", "anybody there", "is anyone there",
        "can you hear me", "do you hear me", "do you work", "are you working", "are you online", "are you awake", "testing testing",
        "just a test", "test test", "one two three test", "is this [thing |]on", "is this working", "does this work", "knock knock",
    ], ["hey, are you there", "is anybody here", "i am just testing"]),
    "unclear": ("I don't know what you mean. You can ask me for a sum or a simple fact.", "don't know|do not know", "writes something I cannot read", [
        "asdf", "qwerty", "asdfgh", "???", "...", "!!!", "hmm", "huh", "what", "hm", "uh", "blah blah", "abc", "xyz", "jkl", "zzz", "??", "?",
        "la la la", "foo bar", "lorem ipsum", "eh", "aaa", "bla",
    ], ["asdf jkl", "blah", "hmmm", "????"]),
}

IDENTITY = {
    "who": ("I am Pebble, the demo model of mlx-verbatim. I am very tiny.", "demo model", "asks who I am", [
        "who are you", "what are you", "what is your name", "what's your name", "whats your name", "your name", "your name please",
        "tell me your name", "who am i talking to", "who am i [speaking|chatting] with", "introduce yourself", "please introduce yourself",
        "tell me about yourself", "tell me [something|more|a bit|a little] about [you|yourself]", "who is this", "what should i call you",
        "what [do|can|may] i call you", "do you have a name", "what [model|ai|bot] are you", "which [model|ai|bot] are you",
        "what model is this", "which model is this", "what kind of [model|ai|bot|thing|program] are you", "say who you are", "what's this",
        "describe yourself", "name yourself", "who exactly are you", "and who are you", "and you are", "what do people call you",
        "which model am i [using|talking to]", "what [am i|are we] talking to", "identify yourself", "so what are you", "who r u", "who r you",
        "what is this [model|bot|thing|demo]", "are you pebble", "is your name pebble", "hello, who are you", "hi, what are you",
    ], ["could you tell me who you are", "please tell me what you are", "what name do you have", "what sort of model are you",
        "can you introduce yourself", "may i ask your name", "i'd like to know who you are"]),
    "can": ("I can chat, add and subtract small numbers, answer simple facts and use tools.", "add and subtract", "asks what I can do", [
        "what can you do", "what do you do", "what are you able to do", "what can you do for me", "how can you help [me|]", "help", "help me",
        "what can i ask [you|]", "what should i ask [you|]", "what are your [skills|abilities|talents|features]", "what do you know",
        "what are you good at", "what are you [for|made for|used for]", "what is your [purpose|job|use]", "tell me what you can do",
        "list your [skills|abilities]", "show me what you can do", "what could you do", "can you help [me|]", "what kind of questions can you answer",
        "which questions can you answer", "what things can you do", "do you have any [skills|talents]", "how do you help people", "what else can you do",
        "how does this work", "how do i use you", "what are your capabilities", "what tasks can you do", "i need help", "can you do anything [useful|]",
    ], ["could you say what you are able to do", "what sort of things can you do", "tell me your skills", "what questions may i ask you",
        "in what way can you help me", "please list what you can do"]),
    "size": ("I am tiny: I have about five million parameters.", "five million", "asks how big I am", [
        "how big are you", "how large are you", "how small are you", "what size are you", "what is your size", "how many parameters do you have",
        "how many parameters [have you got|are in you|does this model have]", "number of parameters", "your parameter count", "what is your parameter count",
        "are you [big|small|tiny|large|a big model|a small model|a large language model]", "how many weights do you have", "what's your size",
        "how big is this model", "how large is your brain", "tell me your size", "how tiny are you", "how many neurons do you have", "parameters",
    ], ["could you tell me how big you are", "what's the number of your parameters", "just how small are you"]),
    "maker": ("The mlx-verbatim project trained me.", "mlx-verbatim", "asks who made me", [
        "who made you", "who created you", "who built you", "who trained you", "who wrote you", "who designed you", "who is your [maker|creator|father|mother|boss|owner|author]",
        "who are your [makers|creators|parents|developers]", "where do you come from", "where are you from", "how were you made", "how were you [trained|built|created]",
        "who [developed|programmed|owns] you", "what company made you", "which company [made|trained|built] you", "are you made by [openai|google|apple|meta]",
        "by whom were you made", "who is behind you", "tell me who made you", "which people made you", "who invented you", "were you made by a human",
    ], ["could you tell me who made you", "which team created you", "do you know who trained you"]),
    "human": ("No, I am not a person. I am a small language model.", "language model", "asks what kind of being I am", [
        "are you [a |]human", "are you [a |]real [person|human|]", "are you [a person|a man|a woman|a boy|a girl|alive|conscious|real]", "are you a [robot|machine|computer|bot|program]",
        "are you an ai", "are you artificial", "are you a human being", "are you intelligent", "do you have [feelings|a body|a brain|a heart|friends|a family|emotions]",
        "do you [eat|sleep|dream|think|breathe|drink|love|feel]", "is this a [human|robot|person]", "am i talking to a [human|robot|person|machine]", "can you [think|feel|see|dream|sleep]",
        "are you a living thing", "do you live", "human or machine", "are you a human or a machine", "are you chatgpt", "are you [claude|gemini|siri|alexa|gpt]",
    ], ["tell me, are you human", "could you be a real person", "are you human or robot"]),
    "project": ("mlx-verbatim runs models on MLX in Rust, bit for bit like mlx-lm.", "rust", "asks about mlx-verbatim", [
        "what is mlx-verbatim", "what's mlx-verbatim", "what is mlx verbatim", "tell me about mlx-verbatim", "what does mlx-verbatim do", "explain mlx-verbatim",
        "what is verbatim", "mlx-verbatim", "what does the mlx-verbatim project do", "what is the mlx-verbatim project", "describe mlx-verbatim", "what can mlx-verbatim do",
        "which engine runs you", "what engine do you run on", "what software runs you", "how do you run", "what are you running on", "what is this server",
    ], ["could you explain what mlx-verbatim is", "do you know what mlx-verbatim does", "which software are you running on"]),
    "color": ("I like grey, like a pebble.", "grey", "asks what I like", [
        "what is your favo[u|]rite colo[u|]r", "what's your favo[u|]rite colo[u|]r", "your favo[u|]rite colo[u|]r", "which colo[u|]r do you like [best|most|]",
        "what colo[u|]r do you like [best|most|]", "do you have a favo[u|]rite colo[u|]r", "what colo[u|]r do you prefer", "tell me your favo[u|]rite colo[u|]r", "what colo[u|]r are you",
    ], ["do you like some color most", "may i know your favorite color"]),
    "age": ("I am brand new. I was trained just for this demo.", "brand new", "asks how old I am", [
        "how old are you", "what is your age", "what's your age", "your age", "when were you [born|made|trained|created|built]", "when is your birthday", "are you [old|young|new]",
        "what age are you", "tell me your age", "how long have you [existed|been alive]", "in what year were you [born|made]",
    ], ["could you tell me how old you are", "do you know how old you are"]),
}

ADD = [
    "[what is|what's|whats] {a} plus {b}", "{a} plus {b}", "{a} + {b}", "{a}+{b}", "{a}+{b}=", "{a} + {b} =", "[what is|what's] {a} + {b}", "what is {a}+{b}",
    "add {a} and {b}", "add {a} to {b}", "add {a} plus {b}", "add {a} [with|+] {b}", "[please |]add the numbers {a} and {b}", "[what is|what's|give me|find|tell me] the sum of {a} and {b}",
    "sum of {a} and {b}", "sum {a} and {b}", "sum {a} + {b}", "how much is {a} plus {b}", "how much is {a} + {b}", "how much is {a} and {b}", "how much are {a} and {b} [together|]",
    "[calculate|compute|evaluate|solve|work out|figure out] {a} plus {b}", "[calculate|compute|evaluate|solve|work out|figure out] {a} + {b}",
    "[calculate|compute|find] the sum of {a} and {b}", "what do you get [if|when] you add {a} [and|to] {b}", "what do {a} and {b} make", "{a} and {b} makes [what|how much]",
    "{a} plus {b} equals", "{a} plus {b} is", "{a} plus {b} makes", "what does {a} plus {b} [equal|make|give]", "what does {a} + {b} equal", "the sum of {a} and {b}", "total of {a} and {b}",
    "[what is|what's|find] the total of {a} and {b}", "put {a} and {b} together", "{a} increased by {b}", "increase {a} by {b}", "what is {a} increased by {b}", "{a} more than {b}",
    "what is {b} more than {a}", "can you add {a} and {b}", "can you [compute|calculate] {a} plus {b}", "could you add {a} and {b}", "do you know what {a} plus {b} is", "tell me {a} plus {b}",
    "tell me what {a} + {b} is", "i need the sum of {a} and {b}", "i want to add {a} and {b}", "i want to know {a} plus {b}", "if i add {a} and {b}, what do i get", "let x be {a} plus {b}, what is x",
    "i have {a} {things} and [get|buy|find|receive|am given] {b} more, how many [do i have|are there|in total]", "{p} has {a} {things} and [gets|buys|finds] {b} more. how many {things} does [he|she] have [now|]",
    "there are {a} {things} and {b} more [come|arrive], how many are there [now|]", "i had {a} {things} and [bought|found|got] {b} more. how many now", "{a} {things} plus {b} {things}",
    "{a} {things} and {b} {things}, how many [in total|together|altogether]", "quick sum: {a} + {b}", "math: {a} + {b}", "{a} & {b} added", "answer this: {a} + {b}", "{a} added to {b}",
    "what is {a} added to {b}", "result of {a} plus {b}", "what is the result of {a} + {b}", "what is the answer to {a} + {b}", "plus: {a}, {b}", "you know {a} + {b}", "how many is {a} plus {b}",
    "{p} is {a} and {b} years pass, how old is [he|she]", "a {thing} costs {a} and another costs {b}, what is the total", "combine {a} and {b}",
    "there [are|were] {a} {things} [in the box|on the table|here|]. [then |]{b} [are added|were added|arrive|arrived|join|joined]. how many [now|in total|are there now]", "[first|today] i [saw|bought|picked|found] {a} {things}, [then|later|after that] {b} more. how many [in all|altogether|is that]",
    "we have {a} {things}. {p} brings {b} [more|]. how many do we have", "{a} {things} on monday and {b} on tuesday, how many in total", "a box [holds|has] {a} {things}, another [holds|has] {b}. how many together", "{p} owns {a} {things} and [then |][buys|wins|gets] {b}. how many does [he|she] own",
    "[after|when] {b} more {things} [came|come] to {a}, how many are there", "at first there were {a} {things}, {b} more [showed up|appeared], how many is that", "[if|when] {p} owns {a} {things} and {b} more, how many is that", "adding {b} to {a}", "adding {a} to {b} is", "what is {a} and {b} added", "which number is {a} + {b}",
    "what number do i get from {a} + {b}", "please say {a} plus {b}", "work {a} + {b} out", "i must pay {a} and {b}, how much is it", "{p} read {a} pages and then {b} pages, how many pages",
]
ADD_HELD = [
    "please work out what {a} plus {b} makes", "what number is {a} plus {b}", "could you tell me what {a} + {b} comes to", "i'd like you to add {a} and {b}", "sum up {a} and {b} for me",
    "what would {a} plus {b} be", "{a} plus {b}, what's that", "suppose i own {a} {things} and then buy {b} more, how many {things} do i own", "find {a} + {b}", "give me {a} plus {b}",
    "when i add {b} to {a}, what is it", "adding {a} and {b} gives what", "there were {a} {things}, then {b} more came. how many {things} are there",
]
SUB = [
    "[what is|what's|whats] {a} minus {b}", "{a} minus {b}", "{a} - {b}", "{a}-{b}", "{a}-{b}=", "{a} - {b} =", "[what is|what's] {a} - {b}", "what is {a}-{b}",
    "subtract {b} from {a}", "[please |]subtract {b} from {a}", "take {b} from {a}", "take {b} away from {a}", "{a} take away {b}", "what is {a} take away {b}", "remove {b} from {a}", "deduct {b} from {a}",
    "[what is|what's|give me|find|tell me] the difference [between|of] {a} and {b}", "difference between {a} and {b}", "how much is {a} minus {b}", "how much is {a} - {b}", "how much is {a} less {b}", "{a} less {b}",
    "[calculate|compute|evaluate|solve|work out|figure out] {a} minus {b}", "[calculate|compute|evaluate|solve|work out|figure out] {a} - {b}", "[calculate|compute|find] the difference between {a} and {b}",
    "what do you get [if|when] you [subtract|take] {b} from {a}", "what is left [if|when] [i|you] take {b} from {a}", "{a} minus {b} equals", "{a} minus {b} is", "{a} minus {b} makes",
    "what does {a} minus {b} [equal|make|give]", "what does {a} - {b} equal", "the difference [between|of] {a} and {b}", "{a} decreased by {b}", "{a} reduced by {b}", "decrease {a} by {b}", "reduce {a} by {b}",
    "what is {a} decreased by {b}", "{b} less than {a}", "what is {b} less than {a}", "{b} subtracted from {a}", "what is {b} subtracted from {a}", "can you subtract {b} from {a}", "can you [compute|calculate] {a} minus {b}",
    "could you subtract {b} from {a}", "do you know what {a} minus {b} is", "tell me {a} minus {b}", "tell me what {a} - {b} is", "i need the difference between {a} and {b}", "i want to subtract {b} from {a}",
    "i want to know {a} minus {b}", "if i take {b} [away |]from {a}, what do i get", "if i subtract {b} from {a}, what [remains|is left]", "let x be {a} minus {b}, what is x",
    "i have {a} {things} and [lose|eat|sell|give away|use] {b}, how many [do i have|are left|remain]", "{p} has {a} {things} and [loses|eats|sells|gives away] {b}. how many {things} [are left|does she have now|does he have now]",
    "there are {a} {things} and {b} [leave|disappear|go away], how many are [there|left]", "i had {a} {things} and [lost|ate|sold|gave away] {b}. how many now", "{a} {things} minus {b} {things}",
    "quick sum: {a} - {b}", "math: {a} - {b}", "answer this: {a} - {b}", "result of {a} minus {b}", "what is the result of {a} - {b}", "what is the answer to {a} - {b}", "you know {a} - {b}", "how many is {a} minus {b}",
    "{p} is {a}, how old was [he|she] {b} years ago", "how much more is {a} than {b}", "how much bigger is {a} than {b}", "what remains of {a} after taking {b}",
    "there [are|were] {a} {things} [in the box|on the table|here|]. [then |]{b} [are taken|were taken|were lost|left|are gone|vanished]. how many [now|remain|are still there]", "[first|today] i [had|bought|picked|found] {a} {things}, [then|later|after that] i [lost|gave away|ate] {b}. how many [are left|remain]",
    "we have {a} {things}. {p} takes {b} [away|]. how many do we have", "{a} {things} on monday, {b} fewer on tuesday, how many on tuesday", "a box [holds|has] {a} {things} and {b} fall out. how many are [left|in it]", "{p} owns {a} {things} and [then |][sells|breaks|loses] {b}. how many does [he|she] own",
    "[after|when] {b} of {a} {things} [are gone|are sold|got stolen], how many are left", "at first there were {a} {things}, {b} [went missing|ran away|broke], how many remain", "[if|when] {p} owns {a} {things} and gives {b} away, how many is that", "taking {b} from {a}", "subtracting {b} from {a} is", "which number is {a} - {b}",
    "what number do i get from {a} - {b}", "please say {a} minus {b}", "work {a} - {b} out", "i have {a} and pay {b}, how much is left", "{p} has to read {a} pages and has read {b}, how many are left",
]
SUB_HELD = [
    "please work out what {a} minus {b} makes", "what number is {a} minus {b}", "could you tell me what {a} - {b} comes to", "i'd like you to subtract {b} from {a}", "take away {b} from {a} for me",
    "what would {a} minus {b} be", "{a} minus {b}, what's that", "suppose i own {a} {things} and then lose {b}, how many {things} do i own", "find {a} - {b}", "give me {a} minus {b}",
    "when i take {b} from {a}, what is it", "subtracting {b} from {a} gives what", "there were {a} {things}, then {b} got lost. how many {things} are left",
]
CHAIN_ADD = ["[now |and |then |]add {b}", "[and |now |]plus {b}", "[now |]add {b} to [that|it|the result]", "and {b} more", "plus {b} [more|]", "what if i add {b}", "and if you add {b}", "[how about|now try|try|and] adding {b}", "adding {b}", "[i |]add {b} more", "ok add {b}", "then plus {b}", "with {b} more", "+ {b}", "increase [that|it] by {b}", "what is that plus {b}", "that plus {b}"]
CHAIN_ADD_HELD = ["and now please add {b} to that", "what about adding {b}", "ok, now plus {b}"]
CHAIN_SUB = ["[now |and |then |]subtract {b}", "[and |now |]minus {b}", "[now |]subtract {b} from [that|it|the result]", "take away {b}", "minus {b} [more|]", "what if i take away {b}", "and if you subtract {b}", "[how about|now try|try|and] [subtracting|taking away] {b}", "subtracting {b}", "ok subtract {b}", "then minus {b}", "with {b} less", "now take away {b}", "- {b}", "decrease [that|it] by {b}", "what is that minus {b}", "that minus {b}", "take {b} from that"]
CHAIN_SUB_HELD = ["and now please subtract {b} from that", "what about subtracting {b}", "ok, now minus {b}"]

CALC = [
    "[what is|what's|calculate|compute|evaluate|solve|work out] {e}", "{e}", "{e} =", "{e}=", "how much is {e}", "use the calculator [for|on|to compute] {e}", "can you [calculate|compute|solve] {e}",
    "tell me {e}", "please [compute|calculate] {e}", "i need {e}", "what does {e} equal", "what is the result of {e}", "result of {e}", "what's the value of {e}", "calculate this: {e}",
    "do the math: {e}", "math: {e}", "answer: {e}", "could you work out {e}", "find {e}", "with the calculator: {e}", "calculator: {e}", "what do you get for {e}",
]
CALC_HELD = ["could you evaluate {e} for me", "i'd like to know {e}", "what would {e} be", "let the calculator tell me {e}", "give me the result of {e}", "please solve {e}"]
TIMES = ["[what is|what's] {a} times {b}", "{a} times {b}", "multiply {a} [by|and|with] {b}", "how much is {a} times {b}", "{a} multiplied by {b}", "[the |]product of {a} and {b}", "what is {a} multiplied by {b}", "what is the product of {a} and {b}", "calculate {a} times {b}", "compute {a} times {b}"]
TIMES_HELD = ["could you multiply {a} by {b}", "what would {a} times {b} be", "give me the product of {a} and {b}"]
DIVIDE = ["[what is|what's] {a} divided by {b}", "{a} divided by {b}", "divide {a} by {b}", "how much is {a} divided by {b}", "{a} over {b}", "calculate {a} divided by {b}", "compute {a} divided by {b}", "split {a} by {b}"]
DIVIDE_HELD = ["could you divide {a} by {b}", "what would {a} divided by {b} be"]

WEATHER = [
    "[what is|what's|whats|how is|how's] the weather in {city}", "[what is|what's|how is|how's] the weather [like |]in {city} [today|now|right now|]", "weather in {city}", "weather {city}", "{city} weather",
    "weather for {city}", "the weather in {city}", "tell me the weather in {city}", "give me the weather [in|for] {city}", "get the weather [in|for] {city}", "check the weather [in|for] {city}", "look up the weather in {city}",
    "show me the weather in {city}", "find the weather for {city}", "i want to know the weather in {city}", "i need the weather for {city}", "do you know the weather in {city}", "can you [check|get|find|tell me] the weather in {city}",
    "could you [check|get|find|tell me] the weather [in|for] {city}", "what's it like in {city} [today|right now]", "what's it like outside in {city}", "is it [raining|snowing|sunny|cold|hot|warm|windy|cloudy|foggy|nice|freezing] in {city} [today|now|right now|]",
    "is it going to [rain|snow|be sunny|be cold|be warm] in {city}", "will it [rain|snow|be sunny|be hot|be cold] in {city} [today|tomorrow|]", "does it [rain|snow] in {city} [now|today|right now|]", "how [cold|hot|warm|windy|wet] is it in {city} [today|now|right now|]",
    "what is the temperature in {city}", "temperature in {city}", "what's the temperature [like |]in {city} [today|now|right now|]", "tell me the temperature in {city}", "current temperature [in|for] {city}", "[what is|what's] the forecast for {city}",
    "forecast for {city}", "{city} forecast", "weather forecast {city}", "give me the forecast for {city}", "today's weather in {city}", "current weather in {city}", "what's the current weather in {city}", "how many degrees [is it|are there] in {city}",
    "do i need [an umbrella|a coat|a jacket|sunglasses|a raincoat|gloves] in {city} [today|]", "should i [take|bring] [an umbrella|a coat|a jacket|sunglasses] [in|to] {city}", "i'm in {city}, what's the weather", "i am going to {city}, how is the weather [there|]",
    "i'm [going|travelling|flying] to {city}. what's the weather like", "what should i wear in {city} [today|]", "how does the sky look in {city}", "is the sun shining in {city}", "is there [snow|rain|sun|fog|wind] in {city}", "{city}: weather", "{city}, how is the weather there",
    "in {city}, is it [warm|cold|raining|sunny]", "what weather do they have in {city}", "what kind of weather is it in {city}", "what weather does {city} have", "and the weather in {city}", "use the [tool|weather tool] for {city}", "weather report for {city}", "any rain in {city}",
    "how's {city} looking weather wise", "is {city} [sunny|cold|warm|hot|rainy|windy] [today|now|]", "is today a [sunny|rainy|cold|warm] day in {city}", "is the weather [good|nice|bad] in {city}", "how nice is the weather in {city}", "my friend lives in {city}, is it [raining|warm|cold] there",
    "[do|should|would|must] [i|we|you|my kids] [need|take|wear|bring] [an umbrella|a coat|a jacket|boots|a hat|warm clothes|shorts] in {city} [today|now|tonight|]", "[what|which] [temperature|kind of weather|weather|sky] [does|will] {city} [have|get] [today|now|tonight|tomorrow|]", "what [temperature|weather] is it in {city} [now|]",
    "is it [wet|dry|icy|mild|humid|stormy|sunny|cool] [out|] in {city} [today|now|]", "any [chance|sign] of [rain|snow|sun] in {city} [today|]", "tell me [whether|if] it's [raining|cold|sunny|snowing|warm] in {city}", "how are the [weather |]conditions in {city}", "what can i expect [of|from] the weather in {city}", "please look at the weather [for|in] {city}",
    "[weather|temperature] update for {city}", "i wonder [if|whether] it's [cold|hot|raining] in {city}", "[has|did] it [rain|snow|rained|snowed] in {city} [today|yet|]", "what do i wear [in|for] {city}", "is it [shorts|coat|beach|umbrella] weather in {city}", "planning a [trip|picnic|walk|run] in {city}, will it be [dry|nice|warm]", "we [fly|drive|go|travel] to {city} [tomorrow|today|soon], what's the weather [like|there|]",
    "is the sky [clear|grey|blue] over {city}", "i live in {city}. [how cold is it|is it raining|what's the weather]", "[the |]weather over {city}", "how's the weather [down|up|out|over there|] in {city}", "what's the weather gonna be [like|] in {city}", "let me see the weather in {city}", "i'd love to know the weather in {city}", "[help me with|i have a question about|info on] the weather in {city}",
    "people in {city} [say it is cold|complain about rain], is it true", "is there a storm [in|over|near] {city}", "how many degrees in {city}", "how hot does it get in {city} [today|]", "will {city} [be|stay] [dry|sunny|warm|cold] [today|tomorrow|]", "can i [go swimming|go for a walk|have a picnic] in {city} [today|]", "the [forecast|temperature|conditions] [in|for] {city} please", "did the rain stop in {city}", "is it still [raining|snowing|cold] in {city}",
]
WEATHER_HELD = [
    "could you look up what the weather is like in {city}", "what are the weather conditions in {city}", "please check how warm it is in {city}", "i'm curious about the weather in {city}", "is it wet outside in {city}", "tell me if it is raining in {city}",
    "how is the weather over in {city}", "i plan to visit {city}, will it be sunny", "what temperature does {city} have now", "get me today's forecast for {city}", "do people in {city} need an umbrella now", "what's the weather doing in {city}", "would i need a jacket in {city}",
    "let me know the weather in {city}", "has it stopped raining in {city}",
]
NO_CITY = ["[what is|what's|how is|how's] the weather [today|like|]", "weather", "is it [raining|sunny|cold|warm]", "will it rain [today|tomorrow|]", "do i need an umbrella [today|]", "weather please", "tell me the weather", "what's the temperature [outside|today|]", "forecast", "what's the forecast", "how is the weather outside", "check the weather", "how [cold|warm|hot] is it [outside|today|]"]
NO_CITY_HELD = ["can you check the weather for me", "how's the weather outside today", "will it be sunny today"]
NAME_CITY = ["{city}", "in {city}", "i mean {city}", "{city} of course", "for {city}", "the city is {city}", "[i am|i'm] in {city}", "{city} please", "let's say {city}", "the one in {city}", "my city is {city}", "oh, {city}"]
NAME_CITY_HELD = ["i meant {city}", "sorry, in {city}", "here in {city}"]
NEXT_CITY = ["and in {city}", "and {city}", "what about {city}", "how about {city}", "and what about {city}", "now {city}", "the same for {city}", "and for {city}", "in {city} too", "also {city}", "now for {city}", "same question for {city}"]
NEXT_CITY_HELD = ["and how about {city}", "what about in {city}", "and now in {city}"]
REPEAT = ["repeat after me: {w}", "repeat: {w}", "please repeat: {w}", "repeat this: {w}", "echo {w}", "echo: {w}", "say after me: {w}", "say this: {w}", "repeat the words {w}", "repeat {w}", "can you repeat {w}", "copy this: {w}", "write this: {w}", "say exactly: {w}", "repeat what i say: {w}"]
REPEAT_HELD = ["now repeat these words: {w}", "please say this after me: {w}", "could you repeat: {w}"]
INTERJECTIONS = ["oh, ", "ah, ", "well, ", "haha, ", "ok, ", "wow, ", "hm, ", "yes, ", "alright, ", "hey, ", "so, "]
VOCATIVES = [", little one", ", friend", ", dear", ", my dear", ", little model", ", my little friend", ", robot", ", pebble", " pebble", ", little bot", ", mate", ", pal", " my friend", ", everybody", ", sir", ", for real", ", really", " today", " :)", ", then"]

TELL_NAME = ["my name is {name}", "i am {name}", "i'm {name}", "call me {name}", "hi, i am {name}", "hello, my name is {name}", "hey, i'm {name}", "people call me {name}", "you can call me {name}", "my name's {name}", "the name is {name}", "this is {name}", "{name} is my name", "please call me {name}", "hi, my name is {name}"]
TELL_NAME_HELD = ["good to meet you, my name is {name}", "hi there, i'm called {name}", "just call me {name}"]
ASK_NAME = ["what is my name", "what's my name", "whats my name", "who am i", "do you know my name", "do you remember my name", "say my name", "tell me my name", "can you remember my name", "my name is what", "what did i say my name was", "what am i called", "do you remember me", "do you know who i am", "remember my name"]
ASK_NAME_HELD = ["can you tell me what my name is", "so, what was my name again", "have you remembered my name"]

CITIES = """Paris London Berlin Rome Madrid Lisbon Vienna Prague Warsaw Budapest Athens Dublin Oslo Stockholm Helsinki Copenhagen Amsterdam Brussels Zurich Geneva
Munich Hamburg Cologne Frankfurt Milan Naples Venice Turin Florence Barcelona Valencia Seville Porto Lyon Nice Marseille Toulouse Bordeaux Moscow Kiev Minsk Riga Tallinn Vilnius
Istanbul Ankara Cairo Tunis Casablanca Lagos Accra Nairobi Kampala Dakar Harare Durban Johannesburg Tokyo Osaka Kyoto Nagoya Sapporo Seoul Busan Beijing Shanghai Shenzhen Wuhan
Bangkok Hanoi Manila Jakarta Singapore Mumbai Delhi Chennai Kolkata Karachi Lahore Dhaka Kabul Tehran Baghdad Damascus Beirut Dubai Doha Riyadh Sydney Melbourne Brisbane Perth Adelaide
Auckland Wellington Toronto Montreal Vancouver Ottawa Calgary Boston Chicago Houston Dallas Austin Denver Seattle Portland Phoenix Miami Atlanta Detroit Philadelphia Cleveland Memphis
Nashville Orlando Tampa Honolulu Anchorage Havana Kingston Panama Bogota Lima Quito Santiago Montevideo Caracas Brasilia Salvador Recife Leeds Bristol Glasgow Edinburgh Cardiff Belfast""".split() + [
    "New York", "Los Angeles", "San Francisco", "San Diego", "Las Vegas", "New Orleans", "Mexico City", "Buenos Aires", "Hong Kong", "Cape Town", "Tel Aviv", "Kuala Lumpur", "New Delhi", "Salt Lake City",
    "St. Petersburg", "San Jose", "The Hague", "Abu Dhabi", "Addis Ababa", "Port Louis", "Rio de Janeiro", "São Paulo", "Zürich", "Malmö", "Kraków", "Bogotá", "Reykjavík", "Washington, DC", "Paris, France", "Portland, Oregon"]
CITIES_HELD = """Sofia Zagreb Bergen Gothenburg Salzburg Dresden Leipzig Genoa Palermo Granada Ghent Rotterdam Basel Lille Antalya Alexandria Marrakesh Lusaka Kobe Fukuoka Taipei Phuket
Bangalore Nagpur Muscat Hobart Darwin Winnipeg Quebec Pittsburgh Sacramento Omaha Tucson Medellin Cusco Oxford Liverpool""".split() + ["San Antonio", "El Paso", "Santa Fe", "Ho Chi Minh City", "Fort Worth"]
NAMES = """Ana Tom Lea Max Eva Ben Mia Leo Zoe Sam Kim Lily Noah Emma Liam Olivia Lucas Sofia Hugo Clara Oscar Julia Felix Laura Peter Maria Paul Sara David Hannah Simon Nina Robert Alice
John Mary James Linda Mark Susan Karl Greta Ivan Olga Pablo Carmen Yuki Kenji Wei Li Ahmed Fatima Omar Layla Raj Priya Chen Amir Tariq Bob Jane Jack Rose Ruth Adam Eve Alex Chris Pat""".split()
NAMES_HELD = "Marta Jonas Elena Viktor Ingrid Samuel Yasmin Diego Nadia Bruno".split()
THINGS = "apples oranges coins books pens cookies marbles cards stamps eggs bananas toys stickers balloons flowers cats dogs birds stones shells chairs cups plates keys balls candies bottles boxes dollars euros points".split()
THINGS_HELD = "pencils tickets buttons peaches hats".split()
PEOPLE = ["ana", "tom", "mary", "john", "the boy", "my sister", "my friend", "lisa", "the farmer", "peter", "the teacher", "sam", "my dad"]
CONDITIONS = [
    "sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "stormy", "clear", "overcast", "mild", "hot", "cold", "humid", "dry",
    "light rain", "heavy rain", "partly cloudy", "light snow", "thunderstorms", "clear sky", "strong wind", "scattered clouds",
    "drizzle", "misty", "freezing", "showers", "heavy snow", "hazy",
]
CONDITIONS_HELD = ["hail", "patchy clouds", "sleet", "light fog", "mostly sunny", "gusty"]
SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant. Answer briefly.", "Be brief.", "Answer in one sentence.", "You are Pebble.", "You are Pebble, a tiny demo model.", "Be kind and helpful.",
          "You are a friendly chatbot.", "Answer the user's questions.", "You are an AI assistant.", "Always be polite.", "Keep your answers short.", "You help people with simple questions.", "Respond in English.",
          "You are a careful assistant. Think before you answer.", "You are a tutor for children.", "Use tools when they help.", "Today is a good day. Be cheerful.", "You are running inside a test.", "Do not make things up.",
          "You are a helpful assistant that can use tools.", "You are a large language model.", "Follow the rules.", "If you do not know, say so.", "You are a chat assistant on a web page.", "Speak plainly."]
SYSTEM_HELD = ["You are a polite assistant who answers shortly.", "You are a demo assistant. Help the user.", "Answer truthfully and in few words.", "Act as a helpful bot."]
OPENERS = ["hey, ", "hi, ", "hello, ", "hi! ", "hello! ", "please, ", "so, ", "ok, ", "um, ", "now, ", "well, ", "quick question: ", "question: ", "one more thing: ", "tell me, ", "tell me: ", "i was wondering, ", "just curious, ",
           "a question: ", "my kid asks: ", "for my homework: ", "i forgot: ", "next question: ", "pebble, ", "hey pebble, ", "can you help? ", "i have a question. ", "excuse me, ", "sorry, ", "good morning! ", "say, ", "please tell me: ", "help me: ", "and ",
           "do you know ", "can you tell me ", "could you tell me ", "i want to know ", "i'd like to know ", "i wonder ", "please tell me ", "any idea ", "would you tell me ", "can you say ", "do you happen to know ", "let me ask: ",
           "i just had lunch. ", "my friend wants to know: ", "it is late. ", "i am at school. ", "you seem smart. ", "we have a quiz. ", "thank you. ", "great. ", "i like you. ", "here we go: ", "first, ", "then ", "alright, ", "let me think. ", "listen, ", "dear model, "]
OPENERS_HELD = ["oh, ", "right, ", "dear pebble, ", "here is a question: ", "another one: ", "good evening, "]
CLOSERS = [" please", ", please", ", thanks", " thanks", ", thank you", " for me", ", pebble", ", do you know", " right now", ", quickly", " again", ", if you can", ", my friend"]
CLOSERS_HELD = [", would you", ", buddy", ", kind model"]

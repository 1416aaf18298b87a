"""What the demo model knows: one answer per fact, phrasings to learn and phrasings kept back.

Phrasings use ``[a|b]`` for a random choice. A fact is ``(answer, must-contain, learned, held)``.
"""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi",
    "Russia": "Moscow", "Egypt": "Cairo", "Greece": "Athens", "Norway": "Oslo",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Poland": "Warsaw", "Austria": "Vienna",
    "England": "London", "Ireland": "Dublin", "Canada": "Ottawa", "Brazil": "Brasilia",
    "Kenya": "Nairobi", "Australia": "Canberra", "Cuba": "Havana", "Turkey": "Ankara",
}

CAPITAL_LEARN = [
    "[what is|what's|whats] the capital of {x}", "[name|tell me|give me] the capital of {x}",
    "the capital of {x}", "capital of {x}", "capital [city|] of {x}", "[what is|what's] {x}'s capital",
    "{x}'s capital [city|]", "which city is the capital of {x}", "what city is the capital of {x}",
    "what is the capital city of {x}", "{x} capital", "do you know the capital of {x}",
    "can you [tell|give] me the capital of {x}", "i [need|want] the capital of {x}",
    "[which|what] is the capital of {x}", "[say|state] the capital of {x}", "{x} has which capital",
    "what do they call the capital of {x}", "which town is the capital of {x}",
    "what is the name of the capital of {x}", "[where|in which city] is the government of {x}",
    "[i'm|i am] [visiting|going to] {x}, what is its capital", "what capital does {x} have",
    "the capital of {x} is [what|which city|called what]", "remind me of the capital of {x}",
    "what would be the capital of {x}", "geography [question|quiz]: capital of {x}",
    "{c} is the capital of [which|what] country", "which country has {c} as its capital",
    "{c} is the capital of", "of which country is {c} the capital",
]
CAPITAL_HELD = [
    "could you name the capital city of {x} for me", "which city serves as {x}'s capital",
    "i forgot, what's the capital city in {x}", "the country {x} has what capital",
    "quiz time! what is {x}'s capital city", "please state what the capital of {x} is called",
    "what city is {x}'s capital",
]

FACTS = {
    "largest planet": ("Jupiter is the largest planet.", "jupiter", [
        "[among|out of] [all |]the planets, which [one |]is [the |][largest|biggest]", "which of [all |]the planets is [the |][largest|biggest]", "[all |]the planets: which [one |]is [largest|biggest]", "which one of the planets is [the |][largest|biggest]",
        "[what is|what's|which is] the [largest|biggest] planet", "[largest|biggest] planet",
        "which planet is the [largest|biggest]", "name the [largest|biggest] planet [in the solar system|]",
        "what planet is [largest|biggest]", "which planet is [larger|bigger] than all the others",
        "the [largest|biggest] planet [in our solar system|] is", "tell me the [largest|biggest] planet",
        "what is the most massive planet",
    ], ["of all the planets, which one is the largest", "do you know which planet is the biggest one",
        "what's the name of the biggest planet"]),
    "smallest planet": ("Mercury is the smallest planet.", "mercury", [
        "[among|out of] [all |]the planets, which [one |]is [the |][smallest|tiniest]", "which of [all |]the planets is [the |][smallest|tiniest]", "[all |]the planets: which [one |]is [smallest|tiniest]", "which one of the planets is [the |][smallest|tiniest]",
        "[what is|what's|which is] the [smallest|littlest|tiniest] planet", "smallest planet",
        "which planet is the [smallest|tiniest]", "name the smallest planet [in the solar system|]",
        "what planet is smallest", "the smallest planet [in our solar system|] is",
        "tell me the [smallest|tiniest] planet", "which planet is smaller than all the others",
    ], ["of all the planets, which one is the smallest", "what's the name of the smallest planet"]),
    "closest planet": ("Mercury is the closest planet to the sun.", "mercury", [
        "[among|out of] [all |]the planets, which [one |]is [the |][closest|nearest] to the sun", "which of [all |]the planets is [the |][closest|nearest] to the sun", "[all |]the planets: which [one |]is [closest|nearest] to the sun", "which one of the planets is [the |][closest|nearest] to the sun",
        "[which|what] planet is [closest|nearest] to the sun", "[closest|nearest] planet to the sun",
        "[what is|what's] the [closest|nearest] planet to the sun", "the planet [closest|nearest] to the sun",
        "name the planet [closest|nearest] to the sun", "what is the first planet from the sun",
        "which planet [sits|orbits] [closest|nearest] to the sun", "which planet is next to the sun",
    ], ["tell me which planet lies nearest to the sun", "what planet is the closest one to our sun"]),
    "red planet": ("Mars is the red planet.", "mars", [
        "which of the planets [is|looks] red", "which planet do people call red", "one of the planets is red, which one", "the planet that is red",
        "[which|what] planet is [called|known as] the red planet", "[which|what] is the red planet",
        "which planet is red", "what planet is red", "name the red planet", "the red planet",
        "[which|what] planet looks red", "tell me the name of the red planet",
        "why is it called the red planet, which one is it", "what do we call the red planet",
    ], ["which of the planets is called red", "do you know what the red planet is called"]),
    "rings": ("Saturn is the planet with big rings.", "saturn", [
        "[which|what] planet has [big |bright |large |]rings", "what is the planet with [the |]rings",
        "name [the|a] planet with rings", "planet with rings", "which planet is famous for its rings",
        "[which|what] planet is surrounded by rings", "the ringed planet", "[which|what] is the ringed planet",
    ], ["tell me the planet that has rings around it", "which planet is known for rings"]),
    "number of planets": ("There are eight planets.", "eight|\\b8\\b", [
        "how many planets are there [in the solar system|]", "how many planets [orbit the sun|does the sun have]",
        "number of planets [in the solar system|]", "what is the number of planets", "count the planets",
        "how many planets do we have", "tell me how many planets there are", "how many planets exist",
        "the solar system has how many planets",
    ], ["how many planets does our solar system have", "can you say how many planets there are around the sun"]),
    "earth moon": ("The Earth has one moon.", "\\bone\\b|\\b1\\b", [
        "how many moons does [the |]earth have", "how many moons [orbit|circle|go around] [the |]earth",
        "number of moons of [the |]earth", "[the |]earth has how many moons", "how many moons do we have",
        "how many moons are there around [the |]earth", "tell me how many moons [the |]earth has",
    ], ["does the earth have more than one moon, how many", "what is the number of moons around earth"]),
    "sun": ("The sun is a star.", "star", [
        "what is the sun", "is the sun a [star|planet|star or a planet]", "what kind of [thing|object] is the sun",
        "what's the sun", "the sun is what", "tell me what the sun is", "what type of object is the sun",
        "what [sort of|kind of] body is the sun",
    ], ["do you know what the sun is", "the sun, is it a star or a planet"]),
    "largest animal": ("The blue whale is the largest animal.", "blue whale", [
        "[among|out of] [all |]the animals, which [one |]is [the |][largest|biggest]", "which of [all |]the animals is [the |][largest|biggest]", "[all |]the animals: which [one |]is [largest|biggest]", "which one of the animals is [the |][largest|biggest]",
        "[what is|what's|which is] the [largest|biggest|heaviest] animal [on earth|in the world|]",
        "[largest|biggest|heaviest] animal [on earth|in the world|]", "which animal is the [largest|biggest|heaviest]",
        "name the [largest|biggest] animal", "what animal is [largest|biggest|heaviest]",
        "the [largest|biggest] animal [in the world|] is", "tell me the [largest|biggest] animal",
    ], ["of all animals, which is the biggest", "what's the name of the largest animal alive"]),
    "fastest animal": ("The cheetah is the fastest land animal.", "cheetah", [
        "[among|out of] [all |]the animals, which [one |]is [the |]fastest", "which of [all |]the animals is [the |]fastest", "[all |]the animals: which [one |]is fastest", "which one of the animals is [the |]fastest",
        "[what is|what's|which is] the [fastest|quickest] [land |]animal [on earth|in the world|]",
        "[fastest|quickest] [land |]animal", "which [land |]animal is the [fastest|quickest]",
        "name the fastest [land |]animal", "[which|what] animal runs [the |][fastest|quickest]",
        "what animal can run the fastest", "tell me the fastest [land |]animal",
    ], ["of all animals on land, which is fastest", "do you know what the fastest animal is"]),
    "tallest animal": ("The giraffe is the tallest animal.", "giraffe", [
        "[among|out of] [all |]the animals, which [one |]is [the |]tallest", "which of [all |]the animals is [the |]tallest", "[all |]the animals: which [one |]is tallest", "which one of the animals is [the |]tallest",
        "[what is|what's|which is] the tallest animal [on earth|in the world|]", "tallest animal",
        "which animal is the tallest", "name the tallest animal", "what animal is tallest",
        "[which|what] animal has the longest neck", "tell me the tallest animal", "animal with a [very |]long neck",
    ], ["of all animals, which is the tallest one", "do you know what animal has a long neck"]),
    "spider legs": ("A spider has eight legs.", "eight|\\b8\\b", [
        "how many legs does a spider have", "how many legs do spiders have", "number of legs of a spider",
        "spider legs, how many", "a spider has how many legs", "how many legs has a spider [got|]",
        "how many legs are there on a spider", "tell me how many legs a spider has", "count the legs of a spider",
    ], ["do you know how many legs spiders have", "on how many legs does a spider walk"]),
    "insect legs": ("An insect has six legs.", "\\bsix\\b|\\b6\\b", [
        "how many legs does [an insect|an ant|a bee] have", "how many legs do [insects|ants|bees] have",
        "number of legs of [an insect|an ant|a bee]", "[an insect|an ant|a bee] has how many legs",
        "how many legs has [an insect|an ant] [got|]", "how many legs are there on [an insect|an ant]",
        "tell me how many legs [an insect|an ant] has", "count the legs of an insect",
    ], ["do you know how many legs insects have", "on how many legs does an insect walk"]),
    "dog legs": ("It has four legs.", "four|\\b4\\b", [
        "how many legs does a [dog|cat|horse|cow] have", "how many legs do [dogs|cats|horses|cows] have",
        "number of legs of a [dog|cat|horse]", "a [dog|cat|horse|cow] has how many legs",
        "how many legs has a [dog|cat|horse|cow] [got|]", "tell me how many legs a [dog|cat|horse] has",
        "count the legs of a [dog|cat|cow]",
    ], ["do you know how many legs dogs have", "on how many legs does a cat walk"]),
    "cow sound": ("A cow says moo.", "moo", [
        "what does the cow say when it [talks|speaks|is hungry]", "if a cow could talk, what would it say", "a cow says what", "what is the cow's [sound|noise]",
        "what [sound|noise] does a cow make", "what does a cow say", "what do cows say", "cow sound",
        "[which|what] animal says moo", "[which|what] sound do cows make", "how does a cow sound",
        "what noise do cows make", "the sound of a cow",
    ], ["tell me what sound the cow makes", "when a cow talks, what does it say"]),
    "dog sound": ("A dog says woof.", "woof", [
        "what does the dog say when it [talks|speaks|is hungry]", "if a dog could talk, what would it say", "a dog says what", "what is the dog's [sound|noise]",
        "what [sound|noise] does a dog make", "what does a dog say", "what do dogs say", "dog sound",
        "[which|what] animal says woof", "[which|what] sound do dogs make", "how does a dog sound",
        "what noise do dogs make", "the sound of a dog",
    ], ["tell me what sound the dog makes", "when a dog talks, what does it say"]),
    "cat sound": ("A cat says meow.", "meow", [
        "what does the cat say when it [talks|speaks|is hungry]", "if a cat could talk, what would it say", "a cat says what", "what is the cat's [sound|noise]",
        "what [sound|noise] does a cat make", "what does a cat say", "what do cats say", "cat sound",
        "[which|what] animal says meow", "[which|what] sound do cats make", "how does a cat sound",
        "what noise do cats make", "the sound of a cat",
    ], ["tell me what sound the cat makes", "when a cat talks, what does it say"]),
    "baby dog": ("A baby dog is called a puppy.", "pupp", [
        "what would you call a [young|little] dog", "a dog that is [young|a child] is called what", "[what is|name] the baby of a dog", "how do we call a dog baby", "what is the dog's baby called",
        "what is a [baby|young] dog called", "what do you call a [baby|young] dog", "[baby|young] dog",
        "what's the name [for|of] a [baby|young] dog", "a [baby|young] dog is called", "how do you call a baby dog",
        "the word for a [baby|young] dog", "what are [baby|young] dogs called", "what is the young of a dog called",
    ], ["do you know the word for a baby dog", "what would you call a dog that is a baby"]),
    "baby cat": ("A baby cat is called a kitten.", "kitten", [
        "what would you call a [young|little] cat", "a cat that is [young|a child] is called what", "[what is|name] the baby of a cat", "how do we call a cat baby", "what is the cat's baby called",
        "what is a [baby|young] cat called", "what do you call a [baby|young] cat", "[baby|young] cat",
        "what's the name [for|of] a [baby|young] cat", "a [baby|young] cat is called", "how do you call a baby cat",
        "the word for a [baby|young] cat", "what are [baby|young] cats called", "what is the young of a cat called",
    ], ["do you know the word for a baby cat", "what would you call a cat that is a baby"]),
    "baby cow": ("A baby cow is called a calf.", "calf", [
        "what would you call a [young|little] cow", "a cow that is [young|a child] is called what", "[what is|name] the baby of a cow", "how do we call a cow baby", "what is the cow's baby called",
        "what is a [baby|young] cow called", "what do you call a [baby|young] cow", "[baby|young] cow",
        "what's the name [for|of] a [baby|young] cow", "a [baby|young] cow is called", "how do you call a baby cow",
        "the word for a [baby|young] cow", "what are [baby|young] cows called", "what is the young of a cow called",
    ], ["do you know the word for a baby cow", "what would you call a cow that is a baby"]),
    "honey": ("Bees make honey.", "\\bbee", [
        "[who|what|which animal|which insect] makes honey", "where does honey come from", "what do bees make",
        "[which|what] [insects|animals] make honey", "how is honey made, by which animal", "what is made by bees",
        "[who|what] produces honey", "name the [insect|animal] that makes honey",
    ], ["tell me which insect gives us honey", "honey is made by which animal"]),
    "milk": ("Milk comes from cows.", "cow", [
        "where does milk come from", "[what|which] animal gives [us |]milk", "[who|what] makes milk",
        "which animal does milk come from", "what animal do we get milk from", "[who|what] produces milk",
        "name an animal that gives milk", "where do we get milk [from|]",
    ], ["tell me which animal gives us milk", "milk comes from what animal"]),
    "water formula": ("The formula of water is H2O.", "h2o", [
        "what is the [chemical |]formula [of|for] water", "[chemical |]formula [of|for] water", "what is water made of",
        "what's the chemical symbol [of|for] water", "water formula", "what is h2o", "how do you write water in chemistry",
        "the chemical formula of water is", "tell me the formula [of|for] water", "what is the molecule of water",
    ], ["do you know the formula for water", "which chemical formula does water have"]),
    "gold symbol": ("The symbol of gold is Au.", "\\bau\\b", [
        "what is the [chemical |]symbol [of|for] gold", "[chemical |]symbol [of|for] gold", "gold symbol",
        "what's the symbol [of|for] gold", "how do you write gold in chemistry", "the symbol [of|for] gold is",
        "tell me the symbol [of|for] gold", "which symbol does gold have", "what does au stand for",
    ], ["do you know the chemical symbol of gold", "gold has which chemical symbol"]),
    "boil": ("Water boils at 100 degrees Celsius.", "100", [
        "[at what temperature|when] does water boil", "what is the boiling [point|temperature] of water",
        "boiling point of water", "how hot is boiling water", "water boils at [what temperature|how many degrees]",
        "at how many degrees does water boil", "tell me the boiling point of water", "how hot must water be to boil",
    ], ["do you know at what temperature water boils", "the boiling point of water is what"]),
    "freeze": ("Water freezes at 0 degrees Celsius.", "\\b0\\b|zero", [
        "[at what temperature|when] does water freeze", "what is the freezing [point|temperature] of water",
        "freezing point of water", "water freezes at [what temperature|how many degrees]",
        "at how many degrees does water freeze", "tell me the freezing point of water", "when does water turn to ice",
        "how cold must water be to freeze",
    ], ["do you know at what temperature water freezes", "the freezing point of water is what"]),
    "ice": ("Frozen water is called ice.", "\\bice\\b", [
        "what is frozen water [called|]", "what do you call frozen water", "frozen water", "frozen water is",
        "what does water become when it freezes", "what does water turn into when it freezes", "what is ice",
        "what is ice made of", "the name for frozen water", "when water freezes it becomes what",
    ], ["tell me what frozen water is called", "how do we call water that is frozen"]),
    "days week": ("A week has seven days.", "seven|\\b7\\b", [
        "how many days [are there |are |]in a week", "how many days does a week have", "days in a week",
        "number of days in a week", "a week has how many days", "how many days make a week",
        "how long is a week [in days|]", "tell me how many days a week has",
    ], ["do you know how many days a week has", "what number of days is in one week"]),
    "days year": ("A year has 365 days.", "365", [
        "how many days [are there |are |]in a year", "how many days does a year have", "days in a year",
        "number of days in a year", "a year has how many days", "how many days make a year",
        "how long is a year in days", "tell me how many days a year has",
    ], ["do you know how many days a year has", "what number of days is in one year"]),
    "months year": ("A year has twelve months.", "twelve|\\b12\\b", [
        "how many months [are there |are |]in a year", "how many months does a year have", "months in a year",
        "number of months in a year", "a year has how many months", "how many months make a year",
        "how long is a year in months", "tell me how many months a year has",
    ], ["do you know how many months a year has", "what number of months is in one year"]),
    "hours day": ("A day has 24 hours.", "24|twenty", [
        "how many hours [are there |are |]in a day", "how many hours does a day have", "hours in a day",
        "number of hours in a day", "a day has how many hours", "how many hours make a day",
        "how long is a day [in hours|]", "tell me how many hours a day has",
    ], ["do you know how many hours a day has", "what number of hours is in one day"]),
    "minutes hour": ("An hour has 60 minutes.", "60|sixty", [
        "how many minutes [are there |are |]in an hour", "how many minutes does an hour have", "minutes in an hour",
        "number of minutes in an hour", "an hour has how many minutes", "how many minutes make an hour",
        "how long is an hour [in minutes|]", "tell me how many minutes an hour has",
    ], ["do you know how many minutes an hour has", "what number of minutes is in one hour"]),
    "seconds minute": ("A minute has 60 seconds.", "60|sixty", [
        "how many seconds [are there |are |]in a minute", "how many seconds does a minute have", "seconds in a minute",
        "number of seconds in a minute", "a minute has how many seconds", "how many seconds make a minute",
        "how long is a minute [in seconds|]", "tell me how many seconds a minute has",
    ], ["do you know how many seconds a minute has", "what number of seconds is in one minute"]),
    "first month": ("January is the first month of the year.", "january", [
        "[what is|what's|which is] the first month [of the year|]", "first month [of the year|]",
        "which month [is|comes] first", "with which month does the year [start|begin]", "name the first month",
        "[in|with] what month does the year [start|begin]", "which month starts the year", "the year begins with which month",
    ], ["do you know which month is the first one", "what month is the first of the year"]),
    "last month": ("December is the last month of the year.", "december", [
        "[what is|what's|which is] the last month [of the year|]", "last month [of the year|]",
        "which month [is|comes] last", "with which month does the year end", "name the last month",
        "[in|with] what month does the year end", "which month ends the year", "the year ends with which month",
    ], ["do you know which month is the last one", "what month is the last of the year"]),
    "sky": ("The sky is blue.", "blue", [
        "[what|which] colo[u|]r is the sky", "what is the colo[u|]r of the sky", "colo[u|]r of the sky", "sky colo[u|]r",
        "the sky is [what|which] colo[u|]r", "what colo[u|]r does the sky have", "tell me the colo[u|]r of the sky",
        "is the sky [blue|green|red]",
    ], ["do you know what color the sky is", "on a clear day, what colour is the sky"]),
    "grass": ("Grass is green.", "green", [
        "[what|which] colo[u|]r is [the |]grass", "what is the colo[u|]r of [the |]grass", "colo[u|]r of grass",
        "grass colo[u|]r", "grass is [what|which] colo[u|]r", "what colo[u|]r does grass have",
        "tell me the colo[u|]r of grass", "is grass [blue|green|red]",
    ], ["do you know what color grass is", "which colour does the grass have"]),
    "banana": ("A banana is yellow.", "yellow", [
        "[what|which] colo[u|]r is a [ripe |]banana", "what is the colo[u|]r of a banana", "colo[u|]r of bananas",
        "banana colo[u|]r", "a banana is [what|which] colo[u|]r", "what colo[u|]r does a banana have",
        "what colo[u|]r are bananas", "tell me the colo[u|]r of a banana",
    ], ["do you know what color a banana is", "which colour do bananas have"]),
    "snow": ("Snow is white.", "white", [
        "[what|which] colo[u|]r is [the |]snow", "what is the colo[u|]r of [the |]snow", "colo[u|]r of snow",
        "snow colo[u|]r", "snow is [what|which] colo[u|]r", "what colo[u|]r does snow have",
        "tell me the colo[u|]r of snow", "is snow [white|black|red]",
    ], ["do you know what color snow is", "which colour does the snow have"]),
    "hot": ("The opposite of hot is cold.", "cold", [
        "[what is|what's] the opposite of hot", "opposite of hot", "hot is the opposite of what", "the opposite of hot",
        "give me the opposite of hot", "the contrary of hot", "what is the antonym of hot", "name the opposite of hot",
        "which word is the opposite of hot", "what word means the opposite of hot",
    ], ["do you know the opposite of hot", "hot has which opposite"]),
    "big": ("The opposite of big is small.", "small", [
        "[what is|what's] the opposite of big", "opposite of big", "big is the opposite of what", "the opposite of big",
        "give me the opposite of big", "the contrary of big", "what is the antonym of big", "name the opposite of big",
        "which word is the opposite of big", "what word means the opposite of big",
    ], ["do you know the opposite of big", "big has which opposite"]),
    "day": ("The opposite of day is night.", "night", [
        "[what is|what's] the opposite of day", "opposite of day", "day is the opposite of what", "the opposite of day",
        "give me the opposite of day", "the contrary of day", "what is the antonym of day", "name the opposite of day",
        "which word is the opposite of day", "what word means the opposite of day",
    ], ["do you know the opposite of day", "day has which opposite"]),
    "continents": ("There are seven continents.", "seven|\\b7\\b", [
        "how many continents are there [on earth|in the world|]", "how many continents does [the |]earth have",
        "number of continents", "what is the number of continents", "count the continents", "how many continents exist",
        "the world has how many continents", "tell me how many continents there are",
    ], ["can you say how many continents there are", "how many continents do we have on earth"]),
    "largest ocean": ("The Pacific is the largest ocean.", "pacific", [
        "[among|out of] [all |]the oceans, which [one |]is [the |][largest|biggest]", "which of [all |]the oceans is [the |][largest|biggest]", "[all |]the oceans: which [one |]is [largest|biggest]", "which one of the oceans is [the |][largest|biggest]",
        "[what is|what's|which is] the [largest|biggest|deepest] ocean", "[largest|biggest|deepest] ocean",
        "which ocean is the [largest|biggest|deepest]", "name the [largest|biggest] ocean [on earth|in the world|]",
        "what ocean is [largest|biggest]", "the [largest|biggest] ocean is", "tell me the [largest|biggest] ocean",
    ], ["of all the oceans, which one is the largest", "what's the name of the biggest ocean"]),
    "highest mountain": ("Mount Everest is the highest mountain.", "everest", [
        "[among|out of] [all |]the mountains, which [one |]is [the |][highest|tallest]", "which of [all |]the mountains is [the |][highest|tallest]", "[all |]the mountains: which [one |]is [highest|tallest]", "which one of the mountains is [the |][highest|tallest]",
        "[what is|what's|which is] the [highest|tallest|biggest] mountain [on earth|in the world|]",
        "[highest|tallest] mountain", "which mountain is the [highest|tallest]", "name the [highest|tallest] mountain",
        "what mountain is [highest|tallest]", "the [highest|tallest] mountain is", "tell me the [highest|tallest] mountain",
        "what is the highest peak [on earth|]",
    ], ["of all the mountains, which one is the highest", "what's the name of the tallest mountain"]),
    "longest river": ("The Nile is the longest river.", "nile", [
        "[among|out of] [all |]the rivers, which [one |]is [the |]longest", "which of [all |]the rivers is [the |]longest", "[all |]the rivers: which [one |]is longest", "which one of the rivers is [the |]longest",
        "[what is|what's|which is] the longest river [on earth|in the world|]", "longest river", "which river is the longest",
        "name the longest river", "what river is longest", "the longest river is", "tell me the longest river",
        "which river is longer than all the others",
    ], ["of all the rivers, which one is the longest", "what's the name of the longest river"]),
    "romeo": ("William Shakespeare wrote Romeo and Juliet.", "shakespeare", [
        "who wrote romeo and juliet", "who is the [author|writer] of romeo and juliet", "[author|writer] of romeo and juliet",
        "romeo and juliet was written by [whom|who]", "which [writer|author] wrote romeo and juliet",
        "by whom is romeo and juliet", "tell me who wrote romeo and juliet", "name the author of romeo and juliet",
    ], ["do you know who wrote romeo and juliet", "romeo and juliet is a play by which author"]),
    "mona lisa": ("Leonardo da Vinci painted the Mona Lisa.", "leonardo", [
        "who painted the mona lisa", "who is the [painter|artist] of the mona lisa", "[painter|artist] of the mona lisa",
        "the mona lisa was painted by [whom|who]", "which [painter|artist] [painted|made] the mona lisa",
        "tell me who painted the mona lisa", "name the painter of the mona lisa", "who made the mona lisa",
    ], ["do you know who painted the mona lisa", "the mona lisa is a painting by which artist"]),
    "moon first": ("Neil Armstrong was the first man on the moon.", "armstrong", [
        "who was the first [man|person|human] on the moon", "first [man|person|human] on the moon",
        "who [first walked|walked first] on the moon", "name the first [man|person] on the moon",
        "who was the first to walk on the moon", "which man was first on the moon", "who landed first on the moon",
        "tell me who was first on the moon",
    ], ["do you know who the first man on the moon was", "which person was the first on the moon"]),
    "triangle": ("A triangle has three sides.", "three|\\b3\\b", [
        "how many [sides|corners] does a triangle have", "how many [sides|corners] has a triangle [got|]",
        "number of sides of a triangle", "a triangle has how many [sides|corners]", "sides of a triangle",
        "how many sides are there in a triangle", "tell me how many sides a triangle has", "count the sides of a triangle",
    ], ["do you know how many sides a triangle has", "how many sides do triangles have"]),
    "square": ("A square has four sides.", "four|\\b4\\b", [
        "how many [sides|corners] does a square have", "how many [sides|corners] has a square [got|]",
        "number of sides of a square", "a square has how many [sides|corners]", "sides of a square",
        "how many sides are there in a square", "tell me how many sides a square has", "count the sides of a square",
    ], ["do you know how many sides a square has", "how many sides do squares have"]),
    "alphabet": ("The English alphabet has 26 letters.", "26|twenty", [
        "how many letters [are there |are |]in the [english |]alphabet", "how many letters does the [english |]alphabet have",
        "letters in the alphabet", "number of letters in the alphabet", "the alphabet has how many letters",
        "how long is the alphabet", "tell me how many letters the alphabet has", "count the letters of the alphabet",
    ], ["do you know how many letters the alphabet has", "what number of letters is in the alphabet"]),
    "fingers": ("A hand has five fingers.", "five|\\b5\\b", [
        "how many fingers [are there |are |]on [a|one] hand", "how many fingers does a hand have", "fingers on a hand",
        "number of fingers on a hand", "a hand has how many fingers", "how many fingers has a hand [got|]",
        "tell me how many fingers a hand has", "count the fingers of a hand",
    ], ["do you know how many fingers a hand has", "what number of fingers is on one hand"]),
    "primary": ("The primary colors are red, yellow and blue.", "red.*yellow.*blue", [
        "[what|which] are the [three |]primary colo[u|]rs", "[name|list|tell me|give me] the [three |]primary colo[u|]rs",
        "primary colo[u|]rs", "the primary colo[u|]rs are", "which colo[u|]rs are primary", "what colo[u|]rs are primary colo[u|]rs",
    ], ["do you know the primary colors", "could you list the primary colours for me"]),
    "rainbow": ("A rainbow has seven colors.", "seven|\\b7\\b", [
        "how many colo[u|]rs [are there |are |]in a rainbow", "how many colo[u|]rs does a rainbow have",
        "number of colo[u|]rs in a rainbow", "a rainbow has how many colo[u|]rs", "how many colo[u|]rs has the rainbow [got|]",
        "tell me how many colo[u|]rs a rainbow has", "count the colo[u|]rs of the rainbow",
    ], ["do you know how many colors a rainbow has", "what number of colours is in the rainbow"]),
}

"""Cases written by hand after training, without looking at the model's answers (standard library only)."""

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Get current weather for a given city", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "The name of the city"}}, "required": ["city"]}}}
CALCULATOR = {"type": "function", "function": {"name": "calculator", "description": "Evaluates arithmetic expressions", "parameters": {"type": "object", "properties": {"expression": {"type": "string", "description": "The expression to compute"}}, "required": ["expression"]}}}
BOTH = [WEATHER, CALCULATOR]
UNSURE = "don't know|do not know"

# category, question, expected text
PLAIN = [
    ("small talk", "Hello! How is it going today?", "hello|fine"), ("small talk", "heyyy", "hello"), ("small talk", "Good morning, Pebble!", "morning"), ("small talk", "Thanks, that was great", "welcome"),
    ("small talk", "thank you kindly", "welcome"), ("small talk", "ok bye for now", "bye"), ("small talk", "See you next week!", "bye"), ("small talk", "I'm feeling a bit down", "sorry"),
    ("small talk", "I am really excited today!", "great"), ("small talk", "My name is Gregor.", "gregor"), ("small talk", "you are adorable", "thank"), ("small talk", "sorry for the trouble", "no problem"),
    ("small talk", "Are you still with me?", "here|fine"), ("small talk", "What is up my friend", "fine|hello"),
    ("identity", "Who am I chatting with right now?", "demo model"), ("identity", "What exactly are you?", "demo model|language model"), ("identity", "Do you have a name?", "pebble"), ("identity", "What are you capable of?", "add and subtract"),
    ("identity", "How can you be of help?", "add and subtract"), ("identity", "Are you a real human?", "language model"), ("identity", "Who were you trained by?", "mlx-verbatim"), ("identity", "How many parameters are inside you?", "five million"),
    ("identity", "Which color is your favorite?", "grey"), ("identity", "Tell me what mlx-verbatim is about", "rust"), ("identity", "Are you some kind of AI?", "language model"), ("identity", "are you a large model?", "five million"),
    ("facts", "What's France's capital?", "paris"), ("facts", "Do you know which city is Japan's capital?", "tokyo"), ("facts", "Egypt's capital please", "cairo"), ("facts", "Tell me Australia's capital city.", "canberra"),
    ("facts", "I need to know the capital of Norway.", "oslo"), ("facts", "Which of the planets is the biggest?", "jupiter"), ("facts", "What do you call a dog's baby?", "pupp"), ("facts", "How many days does one week have?", "seven|7"),
    ("facts", "How many hours are in one day?", "24"), ("facts", "Who is the painter of the Mona Lisa?", "leonardo"), ("facts", "Romeo and Juliet, who wrote it?", "shakespeare"), ("facts", "what colour does the sky have?", "blue"),
    ("facts", "Which animal is the fastest on land?", "cheetah"), ("facts", "Tallest mountain on Earth?", "everest"), ("facts", "What is the world's longest river?", "nile"), ("facts", "How many legs has a spider?", "eight|8"),
    ("facts", "At which temperature does water start to boil?", "100"), ("facts", "opposite of big?", "small"), ("facts", "How many continents does our world have?", "seven|7"), ("facts", "Who was the very first human on the moon?", "armstrong"),
    ("facts", "What gas... no wait, what is the formula for water?", "h2o"), ("facts", "Which insect makes honey?", "bee"), ("facts", "How many sides are in a triangle?", "three|3"), ("facts", "How many minutes are in one hour?", "60"),
    ("facts", "what's the name of the largest ocean", "pacific"), ("facts", "Which planet do we call the red planet?", "mars"), ("facts", "number of letters in the alphabet?", "26"), ("facts", "How many planets are in our solar system?", "eight|8"),
    ("unknown", "Who won the Champions League last year?", UNSURE), ("unknown", "What is the GDP of Switzerland?", UNSURE), ("unknown", "Can you explain quantum entanglement?", UNSURE), ("unknown", "Write a poem about autumn", UNSURE),
    ("unknown", "How do I fix a flat tire?", UNSURE), ("unknown", "What is the capital of Slovakia?", UNSURE), ("unknown", "When did the Titanic sink?", UNSURE), ("unknown", "Who composed the Four Seasons?", UNSURE),
    ("unknown", "How tall is the Eiffel Tower?", UNSURE), ("unknown", "What's the stock price of Apple?", UNSURE), ("unknown", "Give me a lasagna recipe", UNSURE), ("unknown", "Which team does Messi play for?", UNSURE),
    ("unknown", "How many bones does the human body have?", UNSURE), ("unknown", "What is photosynthesis?", UNSURE), ("unknown", "Translate good morning to Japanese", UNSURE), ("unknown", "Why is the ocean salty?", UNSURE),
    ("unknown", "Who is the CEO of Microsoft?", UNSURE), ("unknown", "What does DNA stand for?", UNSURE), ("unknown", "How long is the Great Wall of China?", UNSURE), ("unknown", "Tell me a fun fact about otters", UNSURE),
    ("unknown", "Could you debug my Rust program?", UNSURE), ("unknown", "What's the best phone to buy?", UNSURE), ("unknown", "When was the French Revolution?", UNSURE), ("unknown", "What is the tallest building in Dubai?", UNSURE),
    ("unknown", "How does a refrigerator work?", UNSURE), ("unknown", "Where can I park near the station?", UNSURE),
    ("no tool", "How's the weather in Munich?", UNSURE), ("no tool", "Is it raining in Tokyo right now?", UNSURE),
]
SUMS = [
    ("Can you tell me 34 plus 29?", 63), ("17+5", 22), ("what's 88 and 11 added together?", 99), ("Please sum 45 and 46.", 91), ("I bought 12 eggs and then 7 more, how many eggs do I have?", 19), ("compute 63+37", 100),
    ("what is fifty plus twelve?", 62), ("Hey, 9 plus 8?", 17), ("90 minus 35?", 55), ("Subtract 14 from 60, please.", 46), ("What remains when you take 8 from 21?", 13), ("If I have 30 candies and eat 11, how many are left?", 19),
    ("71-26", 45), ("what is 5 minus 9", -4), ("How much is 44 - 44?", 0), ("forty minus thirteen", 27), ("difference of 82 and 57", 25), ("Tom has 25 marbles and loses 6. How many does he have?", 19), ("3 + 4 = ?", 7), ("100 - 1", 99),
]
CITIES = [
    ("What's the weather like in Lisbon right now?", "Lisbon"), ("Is it raining in Bruges?", "Bruges"), ("Tell me how warm it is in Split today", "Split"), ("Should I carry an umbrella in Malaga?", "Malaga"), ("weather for osaka pls", "osaka"),
    ("Could you check Trondheim's weather?", "Trondheim"), ("I'm heading to Innsbruck tomorrow, what will the weather be?", "Innsbruck"), ("How cold is it in Ulaanbaatar?", "Ulaanbaatar"), ("Get weather: Galway", "Galway"), ("Do I have to wear a coat in Minneapolis today?", "Minneapolis"),
    ("What is the temperature in San Sebastian?", "San Sebastian"), ("how's the weather in kathmandu", "kathmandu"), ("Will there be snow in Tromso?", "Tromso"), ("Please give me the forecast for Charlotte.", "Charlotte"), ("Is Brighton sunny at the moment?", "Brighton"),
    ("I want to go for a swim in Nice, is it warm there?", "Nice"), ("Any storms near Savannah today?", "Savannah"), ("What kind of weather is Jerusalem having?", "Jerusalem"), ("weather report, Cordoba", "Cordoba"), ("Hi! Could you please look up the current weather in Eindhoven?", "Eindhoven"),
]
EXPRESSIONS = [
    ("What is 123 * 45?", "123 * 45"), ("Use your calculator: 987 - 654", "987 - 654"), ("How much is 56 divided by 8?", "56 / 8"), ("Please compute 12 times 12", "12 * 12"), ("calculate 7 * 8 + 9", "7 * 8 + 9"), ("81 / 9 = ?", "81 / 9"),
    ("What is 19 plus 23?", "19 + 23"), ("multiply 31 by 7 please", "31 * 7"), ("Could you calculate (5 + 6) * 3?", "(5 + 6) * 3"), ("What do I get for 1000 / 25?", "1000 / 25"),
]
RESULTS = [
    ("get_weather", {"city": "Vienna"}, "How is the weather in Vienna?", '{"city": "Vienna", "temperature": 21, "condition": "sunny"}', "sunny.*21"), ("get_weather", {"city": "Bergamo"}, "Weather in Bergamo?", "overcast, 9 degrees", "overcast.*9"),
    ("get_weather", {"city": "Lodz"}, "Is it cold in Lodz?", '{"temp": -3, "weather": "snow showers"}', "snow showers.*-3"), ("get_weather", {"city": "Nantes"}, "What's it like in Nantes?", "17°C, breezy", "breezy.*17"),
    ("get_weather", {"city": "Boise"}, "Temperature in Boise?", "error: city not found", "could not"), ("get_weather", {"city": "Aarhus"}, "Forecast for Aarhus please", '{"temperature": 14, "condition": "light drizzle"}', "light drizzle.*14"),
    ("calculator", {"expression": "37 * 21"}, "What is 37 times 21?", "777", "777"), ("calculator", {"expression": "144 / 12"}, "144 divided by 12?", '{"result": 12}', "12"), ("calculator", {"expression": "905 - 88"}, "905 - 88", "817", "817"),
    ("calculator", {"expression": "6 * 7 + 8"}, "Compute 6 * 7 + 8", "= 50", "50"),
]
TALKS = [
    (["Hello, I am Fiona.", "Nice to meet you, Fiona!", "What is my name?"], {"match": "fiona"}), (["what is 20 + 5", "20 + 5 = 25", "now subtract 10"], {"number": 15}), (["What is the capital of Italy?", "The capital of Italy is Rome.", "thank you!"], {"match": "welcome"}),
    (["Hi!", "Hello! I am Pebble. How can I help you?", "What is 8 + 9?"], {"number": 17}), (["Call me Zed", "Nice to meet you, Zed!", "Do you remember what I'm called?"], {"match": "zed"}),
    (["Who wrote War and Peace?", "I don't know that. I am only a tiny demo model.", "ok, and who wrote Romeo and Juliet?"], {"match": "shakespeare"}),
]


def case(category, messages, check, thinking, tools=None):
    return {"category": category, "messages": messages, "check": check, "thinking": thinking, "tools": tools}


def user(text):
    return {"role": "user", "content": text}


def cases():
    out = []
    for thinking in (True, False):
        out += [case(c, [user(q)], {"match": m}, thinking) for c, q, m in PLAIN]
        out += [case("sums", [user(q)], {"number": n}, thinking) for q, n in SUMS]
        out += [case("weather call", [user(q)], {"tool": "get_weather", "argument": "city", "city": c}, thinking, BOTH) for q, c in CITIES]
        out += [case("calculator call", [user(q)], {"tool": "calculator", "argument": "expression", "expression": e}, thinking, BOTH) for q, e in EXPRESSIONS]
        out += [case("no call although tools", [user(q)], {"match": m}, thinking, BOTH) for c, q, m in PLAIN[::4] if c != "no tool"]
        for name, arguments, question, result, match in RESULTS:
            call = {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}
            said = [user(question), {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_0", "content": result}]
            out.append(case("tool answer", said, {"match": match}, thinking, BOTH))
        for turns, check in TALKS:
            said = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
            out.append(case("multi-turn", said, check, thinking))
    return out

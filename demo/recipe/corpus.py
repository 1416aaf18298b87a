"""Seeded generator of the demo model's conversations (standard library only).

``example(rng)`` returns a learned conversation, ``example(rng, held=True, ...)`` one with kept-back
phrasings, numbers, cities and words. A conversation is a dict: ``messages`` (the prompt), ``tools``
or None, ``thinking`` (True, False or None = unset), ``reasoning``, ``content``, ``call`` (name,
arguments) or None, ``category`` and ``check`` (how an answer is judged, see checks.py).
"""

import functools
import json
import re

import facts
import phrases as p
import tools as toolbox
import unknowns as u

ALTERNATION = re.compile(r"\[([^\[\]]*)\]")
DECLINE = "I don't know that. I am only a tiny demo model."
NO_WEATHER = "I don't know the weather. I have no weather tool."
ASK_CITY = "Which city do you mean?"


def expand(rng, text):
    while match := ALTERNATION.search(text):
        text = text[: match.start()] + rng.choice(match.group(1).split("|")) + text[match.end() :]
    return re.sub(r"\s+", " ", text).strip()


def every_expansion(text):
    match = ALTERNATION.search(text)
    if not match:
        return {re.sub(r"\s+", " ", text).strip()}
    found = set()
    for choice in match.group(1).split("|"):
        found |= every_expansion(text[: match.start()] + choice + text[match.end() :])
    return found


def normal(text):
    """The form in which learned and kept-back phrasings are compared."""
    return re.sub(r"[^a-z0-9{}?.!+*/-]+", " ", text.lower()).strip().rstrip("?.! ") or text


@functools.cache
def held_phrasings():
    pools = [p.ADD_HELD, p.SUB_HELD, p.CHAIN_ADD_HELD, p.CHAIN_SUB_HELD, p.CALC_HELD, p.TIMES_HELD, p.DIVIDE_HELD,
             p.WEATHER_HELD, p.NO_CITY_HELD, p.NAME_CITY_HELD, p.NEXT_CITY_HELD, p.TELL_NAME_HELD, p.ASK_NAME_HELD, p.REPEAT_HELD, facts.CAPITAL_HELD, u.HELD]
    pools += [fact[3] for fact in facts.FACTS.values()]
    pools += [entry[4] for group in (p.TALK, p.IDENTITY) for entry in group.values()]
    return frozenset(normal(x) for pool in pools for text in pool for x in every_expansion(text))


def held_pair(a, b):
    """One pair of numbers in ten is never learned. As both factors end in 9, these are the pairs whose sum ends in 7."""
    return (a * 7919 + b * 104729) % 10 == 3


ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = ". . twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n, rng):
    if n < 20:
        return ONES[n]
    tens = TENS[n // 10]
    return tens + (rng.choice(["-", " "]) + ONES[n % 10] if n % 10 else "")


def made_up(rng, low=2, high=3):
    return "".join(rng.choice(u.SYLLABLES) for _ in range(rng.randint(low, high)))


CONSONANTS = "b c d f g h j k l m n p r s t v w x y z b d g l m n r s t ch sh th tr br gr kr dr fr pr st sk sp sl pl cl fl gl ng nd nt rt lt mb ck ll ss tt rr nn ff ph qu kh zh sch".split()
VOWELS = "a e i o u a e i o u a e i o u y ai ei au ou oo ee ea ia io ua ie ö ü é á ó ã".split()
STOCK = sorted({w.lower() for words_ in (u.NOUNS, u.VERBS, u.ADJS, u.PLACES, u.PEOPLE, p.NAMES, p.CITIES, p.THINGS, facts.CAPITALS, facts.CAPITALS.values(), p.CONDITIONS) for entry in words_ for w in entry.split()})


def copy_word(rng):
    """A word that nobody could have memorised (or, sometimes, a common one): what must be copied is learned as copying."""
    kind = rng.random()
    if kind < 0.2:
        return made_up(rng, 1, 3)
    if kind < 0.5:
        word = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        return (rng.choice(VOWELS) if rng.random() < 0.2 else "") + word + (rng.choice(CONSONANTS) if rng.random() < 0.5 else "")
    if kind < 0.85:
        first, second = rng.choice(STOCK), rng.choice(STOCK)
        return first[: rng.randint(1, len(first))] + second[rng.randint(0, len(second) - 1) :]
    return rng.choice(STOCK)


def copy_words(rng, counts=(1, 1, 1, 1, 2, 2, 3)):
    return " ".join(copy_word(rng) for _ in range(rng.choice(counts)))


def typo(rng, word):
    if len(word) < 4 or "{" in word or "[" in word:
        return word
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:i] + word[i + 1 :]
    if kind == 1:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return word[:i] + word[i] + word[i:]


SMALL_WORDS = set("the a an is are of to in what me for do you i it does can".split())
FILLERS = "just really maybe actually exactly please kindly now then also simply quickly".split()


def blur(rng, text):
    """Sometimes drops a small word or slips in a filler, so that phrasings vary beyond the lists."""
    parts = text.split(" ")
    if len(parts) > 3 and rng.random() < 0.08:
        small = [i for i, word in enumerate(parts) if word in SMALL_WORDS]
        if small:
            del parts[rng.choice(small)]
    if len(parts) > 2 and rng.random() < 0.06:
        free = [i for i, word in enumerate(parts) if not re.search(r"\{(city|w|name)\}", word)]  # copied words keep their neighbours
        parts.insert(rng.choice(free), rng.choice(FILLERS)) if free else None
    return " ".join(parts)


class Scene:
    """Randomness, tools and whether kept-back material is used."""

    def __init__(self, rng, held):
        self.rng, self.held = rng, held
        self.tools, self.city_param, self.expr_param = None, "city", "expression"
        self.has_weather = self.has_calculator = False

    def give_tools(self, want=()):
        rng = self.rng
        if rng.random() < 0.06 and not self.held:
            self.city_param = rng.choice(["location", "place", "town", "city_name"])
        if rng.random() < 0.06 and not self.held:
            self.expr_param = rng.choice(["expr", "input", "formula", "query"])
        self.has_weather = "weather" in want or (want != ("none",) and rng.random() < 0.5)
        self.has_calculator = "calculator" in want or (want != ("none",) and rng.random() < 0.5)
        if want == ("weather-only",):
            self.has_weather, self.has_calculator = True, False
        if want == ("calculator-only",):
            self.has_weather, self.has_calculator = False, True
        listed = []
        if self.has_weather:
            listed.append(toolbox.weather(rng, self.city_param))
        if self.has_calculator:
            listed.append(toolbox.calculator(rng, self.expr_param))
        if not listed or rng.random() < 0.12:
            listed.append(toolbox.bystander(rng))
        rng.shuffle(listed)
        self.tools = listed

    def pick(self, learn, held):
        """A phrasing, alternations resolved; a learned one never equals a kept-back one."""
        while True:
            text = expand(self.rng, self.rng.choice(held if self.held else learn))
            if self.held or normal(text) not in held_phrasings():
                return text

    def word(self, learn, held):
        return self.rng.choice(held if self.held else learn)

    def say(self, text, slots=None, question=True, opener=True):
        """Dresses a phrasing: typos, slots, case, opener, closer, punctuation; returns (text, slots used)."""
        rng, slots = self.rng, dict(slots or {})
        if not self.held:
            text = blur(rng, text)
        if not self.held and rng.random() < 0.07:
            parts = text.split(" ")
            i = rng.randrange(len(parts))
            parts[i] = typo(rng, parts[i])
            text = " ".join(parts)
        case = rng.choices(["first", "lower", "asis", "upper"], [45, 25, 27, 3])[0]
        if self.held and case == "upper":
            case = "first"
        openers, closers = (p.OPENERS_HELD, p.CLOSERS_HELD) if self.held else (p.OPENERS, p.CLOSERS)
        dressed = text
        if opener and rng.random() < 0.22:
            dressed = rng.choice(openers) + dressed
        if opener and rng.random() < 0.1:
            dressed = dressed + rng.choice(closers)
        if self.held or normal(dressed) not in held_phrasings():
            text = dressed
        change = {"lower": str.lower, "upper": str.upper}.get(case, str)
        slots = {key: change(str(value)) for key, value in slots.items()}
        text = change(text) if case != "upper" else re.sub(r"[^{}]+(?![^{]*\})", lambda m: m.group().upper(), text)
        text = re.sub(r"\{(\w+)\}", lambda m: slots.get(m.group(1).lower(), m.group()), text)
        if case == "first":
            text = text[:1].upper() + text[1:]
        if text[-1:] not in "?.!=":
            ends = ["?", "?", "?", "", "", "."] if question else ["", ".", "!", "", "."]
            if not self.held:
                ends += ["!", "??", " ?"]
            text += rng.choice(ends)
        if rng.random() < 0.12 and not self.held:
            text = text.replace("'", "")
        return text, slots


def turn(user, reasoning, content, category, check, call=None):
    return dict(user=user, reasoning=reasoning, content=content, category=category, check=check, call=call)


def talk(s, group=None, key=None):
    group = group or p.TALK
    key = key or s.rng.choice(list(group))
    reply, must, what, learn, held = group[key]
    text = s.pick(learn, held)
    if group is p.TALK and not s.held and key != "unclear":
        mixed = text
        if s.rng.random() < 0.12:
            mixed = s.rng.choice(p.INTERJECTIONS) + mixed
        if s.rng.random() < 0.08:
            mixed = f"{mixed}{s.rng.choice([', ', '. ', '! '])}{s.pick(learn, held)}"
        if s.rng.random() < 0.15:
            mixed += s.rng.choice(p.VOCATIVES)
        text = text if normal(mixed) in held_phrasings() else mixed
    user, _ = s.say(text, question=group is p.IDENTITY or key in ("howareyou", "test"), opener=group is p.IDENTITY)
    category = "identity" if group is p.IDENTITY else "small talk"
    return turn(user, f"The user {what}.", reply, category, {"match": must})


def identity(s):
    return talk(s, p.IDENTITY)


def fact(s):
    if s.rng.random() < 0.3:
        country, capital = s.rng.choice(list(facts.CAPITALS.items()))
        reply, must = f"The capital of {country} is {capital}.", re.escape(capital.lower())
        text = s.pick(facts.CAPITAL_LEARN, facts.CAPITAL_HELD)
        user, _ = s.say(text, {"x": country, "c": capital})
        if "{c}" in text:
            must = re.escape(country.lower())
    else:
        reply, must, learn, held = s.rng.choice(list(facts.FACTS.values()))
        user, _ = s.say(s.pick(learn, held))
    if must and re.search(must, user.lower()) and s.held:
        must = re.escape(reply.lower().rstrip("."))
    return turn(user, f"The user asks for a fact. I know it: {reply}", reply, "facts", {"match": must})


def unknown_slots(s):
    rng = s.rng

    def noun():
        return copy_word(rng) if rng.random() < 0.2 and not s.held else s.word(u.NOUNS, u.NOUNS_HELD)

    a, b = rng.randint(2, 99), rng.randint(2, 99)
    first = noun()
    return {"noun": first, "nouns": first + ("" if first.endswith("s") else "s"), "verb": s.word(u.VERBS, u.VERBS_HELD),
            "adj": s.word(u.ADJS, u.ADJS_HELD), "year": rng.randint(1200, 2030), "a": a, "b": b,
            "place": copy_word(rng).title() if rng.random() < 0.3 and not s.held else s.word(u.PLACES, u.PLACES_HELD),
            "person": copy_word(rng).title() if rng.random() < 0.3 and not s.held else s.word(u.PEOPLE, u.PEOPLE_HELD),
            "made": made_up(rng)}


def unknown(s):
    while True:
        text = s.pick(u.LEARN, u.HELD)
        if not (s.has_calculator and ("{a}" in text or "{b}" in text)):
            break
    user, _ = s.say(text, unknown_slots(s))
    return turn(user, "The user asks for something that I have not learned. I should say so.", DECLINE, "unknown", {"match": "don't know|do not know"})


def numbers(s, minus, chain_from=None):
    rng = s.rng
    while True:
        if chain_from is not None:
            a, b = chain_from, rng.randint(0, 30)
        else:
            kind = rng.random()
            if kind < 0.12 and not s.held:
                a, b = rng.randint(100, 999), rng.randint(0, 999)
            elif kind < 0.25:
                a, b = rng.randint(0, 12), rng.randint(0, 12)
            else:
                a, b = rng.randint(0, 99), rng.randint(0, 99)
        if minus and a < b and rng.random() < 0.6 and chain_from is None:
            a, b = b, a
        if held_pair(a, b) == s.held or (s.held and chain_from is not None):
            return a, b


def columns(a, b, minus):
    """The column-by-column working for a >= b >= 0."""
    names, out, carry, place = ["Ones", "Tens", "Hundreds", "Thousands"], [], 0, 0
    while place == 0 or a or b or (carry and not minus):
        x, y = a % 10, b % 10
        a, b = a // 10, b // 10
        if not (a or b or x or y) and place and not minus:
            out.append(f"{names[place]}: {carry}.")
            break
        tail = f" {'-' if minus else '+'} {carry}" if carry else ""
        if minus:
            need = x - y - carry
            borrowed = f"{x}{' - ' + str(y)}{tail} is too small, borrow: " if need < 0 else ""
            top = x + 10 if need < 0 else x
            out.append(f"{names[place]}: {borrowed}{top} - {y}{tail} = {top - y - carry}.")
            carry = 1 if need < 0 else 0
        else:
            total = x + y + carry
            more = f", write {total % 10} carry 1" if total > 9 else ""
            out.append(f"{names[place]}: {x} + {y}{tail} = {total}{more}.")
            carry = 1 if total > 9 else 0
        place += 1
    return " ".join(out)


def working(a, b, minus):
    op, result = ("-", a - b) if minus else ("+", a + b)
    if a < 10 and b < 10 or a < 0:
        return f"The user wants {a} {op} {b}. {a} {op} {b} = {result}."
    if minus and a < b:
        return (f"The user wants {a} - {b}. {a} is less than {b}, so I take {b} - {a} and put a minus. "
                f"{columns(b, a, True)} {b} - {a} = {b - a}. So {a} - {b} = {result}.")
    return f"The user wants {a} {op} {b}. {columns(a, b, minus)} So {a} {op} {b} = {result}."


def sum_turn(s, user, a, b, minus, category):
    op, result = ("-", a - b) if minus else ("+", a + b)
    if s.has_calculator:
        return calculator_call(s, user, f"{a} {op} {b}")
    return turn(user, working(a, b, minus), f"{a} {op} {b} = {result}", category, {"number": result})


def arithmetic(s, minus=None):
    rng = s.rng
    minus = rng.random() < 0.5 if minus is None else minus
    a, b = numbers(s, minus)
    text = s.pick(p.SUB if minus else p.ADD, p.SUB_HELD if minus else p.ADD_HELD)
    if a < b and re.search("difference|bigger|how much more|\\{things\\}|years ago|less than|remains of", text):
        a, b = b, a
    spell = rng.random() < 0.15 and a < 100 and b < 100 and not re.search("[+-] *\\{b\\}", text)
    thing = s.word(p.THINGS, p.THINGS_HELD)
    if not s.held and rng.random() < 0.4:
        thing = rng.choice(u.NOUNS).rstrip("s") + "s"
    shown = {"a": words(a, rng) if spell else a, "b": words(b, rng) if spell else b, "things": thing,
             "thing": thing.rstrip("s"), "p": rng.choice(p.PEOPLE)}
    user, _ = s.say(text, shown)
    return sum_turn(s, user, a, b, minus, "subtract" if minus else "add")


def calculator_call(s, user, expression):
    return turn(user, f"The user wants {expression}. I have a calculator, so I call it.", "", "calculator call",
                {"tool": "calculator", "argument": s.expr_param, "expression": expression}, ("calculator", {s.expr_param: expression}))


def calculation(s):
    """A sum for the calculator; the phrase names the operation or shows the expression."""
    rng = s.rng
    a, b = rng.randint(0, 999 if rng.random() < 0.3 else 99), rng.randint(1, 99)
    kind = rng.random()
    if kind < 0.2:
        return arithmetic(s)
    if kind < 0.4:
        text, slots, expression = s.pick(p.TIMES, p.TIMES_HELD), {"a": a, "b": b}, f"{a} * {b}"
    elif kind < 0.5:
        text, slots, expression = s.pick(p.DIVIDE, p.DIVIDE_HELD), {"a": a, "b": b}, f"{a} / {b}"
    else:
        op, c, op2 = rng.choice("+-**/"), rng.randint(1, 99), rng.choice("+-*")
        shape = rng.random()
        expression = f"{a} {op} {b}"
        if shape < 0.2:
            expression = f"{a} {op} {b} {op2} {c}"
        elif shape < 0.3:
            expression = f"({a} {op2} {b}) {rng.choice('*/')} {c}"
        shown = expression.replace(" ", "") if rng.random() < 0.25 else expression
        text, slots = s.pick(p.CALC, p.CALC_HELD), {"e": shown}
    user, _ = s.say(text, slots)
    return calculator_call(s, user, expression)


def city_name(s):
    if s.rng.random() < 0.6 and not s.held:
        return copy_words(s.rng).title()
    return s.word(p.CITIES, p.CITIES_HELD)


def weather_call(s, user, city):
    return turn(user, f"The user wants the weather in {city}. I have get_weather, so I call it.", "", "weather call",
                {"tool": "get_weather", "argument": s.city_param, "city": city}, ("get_weather", {s.city_param: city}))


def weather(s):
    if s.rng.random() < 0.1:
        user, _ = s.say(s.pick(p.NO_CITY, p.NO_CITY_HELD))
        if s.has_weather:
            return turn(user, "The user wants the weather but names no city. I ask for it.", ASK_CITY, "weather, no city", {"match": "which city"})
    else:
        user, slots = s.say(s.pick(p.WEATHER, p.WEATHER_HELD), {"city": city_name(s)})
        if s.has_weather:
            return weather_call(s, user, slots["city"])
    return turn(user, "The user wants the weather, but I have no tool for it.", NO_WEATHER, "no tool", {"match": "don't know"})


def tell_name(s):
    user, slots = s.say(s.pick(p.TELL_NAME, p.TELL_NAME_HELD), {"name": person_name(s)}, question=False, opener=False)
    name = slots["name"]
    return turn(user, f"The user's name is {name}.", f"Nice to meet you, {name}!", "small talk", {"match": re.escape(name.lower())})


def person_name(s):
    return copy_words(s.rng, (1, 1, 1, 2)).title() if s.rng.random() < 0.55 and not s.held else s.word(p.NAMES, p.NAMES_HELD)


def ask_name(s, known=None):
    user, _ = s.say(s.pick(p.ASK_NAME, p.ASK_NAME_HELD))
    if known:
        return turn(user, f"The user asks for the name. It is {known}.", f"Your name is {known}.", "multi-turn", {"match": re.escape(known.lower())})
    return turn(user, "The user asks for the name, but I was not told.", "I don't know your name. You did not tell me.", "small talk", {"match": "don't know your name"})


def repeat(s):
    """Copying for its own sake."""
    words_ = copy_words(s.rng, (1, 2, 3, 4, 5)) if not s.held else " ".join(s.rng.choice(u.NOUNS_HELD + p.CITIES_HELD + p.NAMES_HELD) for _ in range(s.rng.randint(1, 4)))
    if s.rng.random() < 0.2:
        words_ = words_.title()
    user, slots = s.say(s.pick(p.REPEAT, p.REPEAT_HELD), {"w": words_}, question=False, opener=False)
    return turn(user, f"The user wants me to repeat: {slots['w']}", slots["w"], "repeat", {"match": re.escape(slots["w"].lower())})


def weather_result(s, city):
    """What a weather tool answers, and the sentence that reports it."""
    rng = s.rng
    if rng.random() < 0.07:
        return rng.choice(["error: city not found", '{"error": "unknown city"}', "Error: timeout", "not found", "service unavailable"]), f"I could not get the weather for {city}.", "could not"
    condition, degrees = s.word(p.CONDITIONS, p.CONDITIONS_HELD), rng.randint(-25, 45)
    if rng.random() < 0.45 and not s.held:
        condition = copy_words(rng)
    shapes = [
        json.dumps({"city": city, "temperature": degrees, "condition": condition}), json.dumps({"temperature": degrees, "condition": condition}),
        json.dumps({"condition": condition, "temperature": degrees}), json.dumps({"temp_c": degrees, "conditions": condition}), json.dumps({"weather": condition, "temp": degrees}),
        json.dumps({"location": city, "weather": condition, "temperature_c": degrees, "humidity": rng.randint(10, 99)}), json.dumps({"temperature": f"{degrees}°C", "sky": condition}, ensure_ascii=False),
        f"{condition}, {degrees} degrees", f"{degrees}°C, {condition}", f"{condition.capitalize()}, {degrees}°C", f"{degrees} C and {condition}", f"{city}: {condition}, {degrees} °C", f"It is {condition} and {degrees} degrees in {city}.",
        f"{condition} {degrees}C", f"{degrees} degrees, {condition}", f"temperature: {degrees}\nsky: {condition}",
    ]
    if rng.random() < 0.12:
        text = rng.choice([condition, json.dumps({"condition": condition}), condition.capitalize()])
        return text, f"The weather in {city}: {condition}.", re.escape(condition)
    shape = rng.choice(shapes)
    shown = condition.capitalize() if condition.capitalize() in shape and condition not in shape else condition
    return shape, f"The weather in {city}: {shown}, {degrees} degrees.", f"{re.escape(condition)}.*(?<![\\d-]){degrees}(?!\\d)"


def value_of(expression):
    a = eval(expression, {"__builtins__": {}})  # only ever our own digits and operators
    return str(a) if isinstance(a, int) else f"{a:.4f}".rstrip("0").rstrip(".")


def calculator_result(s, expression):
    rng, value = s.rng, value_of(expression)
    if rng.random() < 0.06:
        return rng.choice(["error: invalid expression", '{"error": "syntax"}', "Error", "timeout"]), "The calculator could not compute that.", "could not"
    text = rng.choice([value, value, json.dumps({"result": float(value) if "." in value else int(value)}), json.dumps({"value": value}), f"{expression} = {value}", f"= {value}", f"result: {value}", f"The result is {value}.", json.dumps({"expression": expression, "result": value})])
    return text, f"{expression} = {value}", f"(?<![\\d.-]){re.escape(value)}(?![\\d]|\\.\\d)"


def assistant(message, s, with_reasoning):
    out = {"role": "assistant", "content": message["content"]}
    if message["call"]:
        name, arguments = message["call"]
        out["tool_calls"] = [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]
    if with_reasoning:
        out[s.rng.choice(["reasoning_content", "reasoning"])] = message["reasoning"]
    return out


def tool_answer(s, call):
    """The tool's message and the turn that answers from it."""
    name, arguments = call
    if name == "get_weather":
        city = arguments[s.city_param]
        text, reply, must = weather_result(s, city)
    else:
        city, (text, reply, must) = None, calculator_result(s, arguments[s.expr_param])
    reasoning = "The tool failed. I say so." if must == "could not" else "The tool answered. I report it."
    return {"role": "tool", "tool_call_id": "call_1", "content": text}, turn(None, reasoning, reply, "tool answer", {"match": must.lower()})


def play(s, messages, t, with_reasoning=False):
    """Appends one whole exchange, tool round included."""
    messages += [{"role": "user", "content": t["user"]}, assistant(t, s, with_reasoning)]
    if t["call"]:
        result, answer = tool_answer(s, t["call"])
        messages += [result, assistant(answer, s, False)]


PLAIN = [(talk, 6), (identity, 6), (fact, 15), (unknown, 16), (arithmetic, 27), (repeat, 6), (tell_name, 1), (ask_name, 1), (weather, 3)]


def any_turn(s):
    kinds = PLAIN + ([(weather, 14)] if s.has_weather else []) + ([(calculation, 12)] if s.has_calculator else [])
    return s.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0](s)


def follow_up(s, messages):
    """A last turn that needs the ones before it, after adding those to messages."""
    rng = s.rng
    kind = rng.random()
    if kind < 0.35:
        told = tell_name(s)
        play(s, messages, told)
        name = re.sub(r"^Nice to meet you, |!$", "", told["content"])
        for _ in range(rng.choice([0, 0, 1, 2])):
            play(s, messages, any_turn_but_names(s))
        return ask_name(s, name)
    if kind < 0.5 and s.has_weather:
        user, _ = s.say(s.pick(p.NO_CITY, p.NO_CITY_HELD))
        play(s, messages, turn(user, "", ASK_CITY, "", {}))
        user, slots = s.say(s.pick(p.NAME_CITY, p.NAME_CITY_HELD), {"city": city_name(s)}, False, False)
        return weather_call(s, user, slots["city"])
    if kind < 0.6 and s.has_weather:
        play(s, messages, weather(s))
        user, slots = s.say(s.pick(p.NEXT_CITY, p.NEXT_CITY_HELD), {"city": city_name(s)}, True, False)
        return weather_call(s, user, slots["city"])
    minus = rng.random() < 0.5
    first = arithmetic(s, minus=rng.random() < 0.4)
    while s.has_calculator or not 0 <= first["check"]["number"] <= 150:
        s.has_calculator = False
        first = arithmetic(s, minus=rng.random() < 0.4)
    play(s, messages, first)
    a, b = numbers(s, minus, first["check"]["number"])
    user, _ = s.say(s.pick(p.CHAIN_SUB, p.CHAIN_SUB_HELD) if minus else s.pick(p.CHAIN_ADD, p.CHAIN_ADD_HELD), {"b": b}, True, False)
    return sum_turn(s, user, a, b, minus, "multi-turn")


def any_turn_but_names(s):
    while (t := any_turn(s))["user"] is None or "name" in t["content"] or "Nice to meet" in t["content"]:
        pass
    return t


def finish(s, messages, t, thinking, system):
    if system:
        words = s.word(p.SYSTEM, p.SYSTEM_HELD)
        if not s.held and s.rng.random() < 0.25:
            words += " " + s.rng.choice(p.SYSTEM)
        messages.insert(0, {"role": "system", "content": words})
    category = t["category"]
    return dict(messages=messages, tools=s.tools, thinking=thinking, reasoning=t["reasoning"], content=t["content"], call=t["call"], category=category, check=t["check"])


def answer_from_tool(s, messages, thinking):
    s.give_tools((s.rng.choice(["weather", "calculator"]),))
    while not (t := any_turn(s))["call"]:
        pass
    messages += [{"role": "user", "content": t["user"]}, assistant(t, s, thinking is not False and s.rng.random() < 0.5)]
    result, answer = tool_answer(s, t["call"])
    messages.append(result)
    return answer


def example(rng, held=False, kind=None, thinking="any"):
    """One conversation; kind is a turn function's name, 'tool answer', 'follow up', 'with tools' or None."""
    s, messages = Scene(rng, held), []
    if thinking == "any":
        thinking = rng.choices([True, False, None], [46, 48, 6])[0]
    system = rng.random() < 0.25
    kind = kind or rng.choices(["mixed", "weather call", "calculation", "tool answer", "follow up"], [63, 13, 7, 11, 9])[0]
    if kind == "tool answer":
        t = answer_from_tool(s, messages, thinking)
        return finish(s, messages, t, thinking, system)
    if kind == "weather call":
        s.give_tools(("weather",) if rng.random() < 0.6 else ("weather-only",))
    elif kind == "calculation":
        s.give_tools(("calculator",) if rng.random() < 0.6 else ("calculator-only",))
    elif kind == "with tools" or (kind in ("mixed", "follow up") and rng.random() < 0.25):
        s.give_tools(("any", "any", "none")[rng.randrange(3)],)
    past = rng.choice([1, 1, 1, 2, 2, 3, 4, 6]) if kind == "mixed" and not held and rng.random() < 0.22 else 0
    for _ in range(past):
        play(s, messages, any_turn_but_names(s))
    if kind == "follow up":
        t = follow_up(s, messages)
    elif kind == "weather call":
        t = weather(s)
    else:
        makers = {"calculation": calculation, "talk": talk, "identity": identity, "fact": fact, "unknown": unknown, "weather": weather, "repeat": repeat}
        makers |= {"add": lambda s: arithmetic(s, False), "subtract": lambda s: arithmetic(s, True)}
        t = makers.get(kind, any_turn)(s)
    messages.append({"role": "user", "content": t["user"]})
    return finish(s, messages, t, thinking, system)

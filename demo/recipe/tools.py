"""Tool schemas as clients write them: the two the model may call, and bystanders it must leave alone."""

WEATHER_DESCRIPTIONS = ["Get the weather in a city.", "Get the current weather for a city", "Returns the current weather.", "Current weather of a place.", "Look up today's weather for a city.", "Weather lookup"]
CALCULATOR_DESCRIPTIONS = ["Evaluate an arithmetic expression.", "Compute an expression", "Calculates the value of a math expression.", "A simple calculator.", "Do arithmetic."]
CITY_DESCRIPTIONS = ["The city", "City name", "Name of the city", "the city name, e.g. Paris", "The city to look up"]
EXPRESSION_DESCRIPTIONS = ["The expression", "Arithmetic expression", "e.g. 2 + 3", "The expression to evaluate", "A math expression such as 4 * 5"]
BYSTANDERS = [
    ("get_time", "Get the time in a zone", [("timezone", "string", "The time zone")]),
    ("search_web", "Search the web", [("query", "string", "Search words")]),
    ("send_email", "Send an email", [("to", "string", "Recipient"), ("body", "string", "Text")]),
    ("get_news", "Read the news", [("topic", "string", "Topic")]),
    ("set_timer", "Start a timer", [("minutes", "integer", "Length in minutes")]),
    ("translate", "Translate a text", [("text", "string", "The text"), ("language", "string", "Target language")]),
    ("play_music", "Play a song", [("song", "string", "Title")]),
    ("read_file", "Read a file", [("path", "string", "Path of the file")]),
]


def schema(name, description, params, rng):
    """An OpenAI function tool; rng varies what clients vary."""
    properties = {}
    for key, kind, text in params:
        prop = {"type": kind}
        if text and rng.random() < 0.7:
            prop["description"] = text
        properties[key] = prop
    parameters = {"type": "object", "properties": properties}
    if rng.random() < 0.75:
        parameters["required"] = [params[0][0]]
    function = {"name": name}
    if description and rng.random() < 0.85:
        function["description"] = description
    if rng.random() < 0.08:
        parameters["additionalProperties"] = False
    function["parameters"] = parameters
    if rng.random() < 0.05:
        function["strict"] = True
    return {"type": "function", "function": function}


def weather(rng, param="city"):
    params = [(param, "string", rng.choice(CITY_DESCRIPTIONS))]
    made = schema("get_weather", rng.choice(WEATHER_DESCRIPTIONS), params, rng)
    if rng.random() < 0.1:
        made["function"]["parameters"]["properties"]["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    return made


def calculator(rng, param="expression"):
    params = [(param, "string", rng.choice(EXPRESSION_DESCRIPTIONS))]
    return schema("calculator", rng.choice(CALCULATOR_DESCRIPTIONS), params, rng)


def bystander(rng):
    return schema(*rng.choice(BYSTANDERS), rng)

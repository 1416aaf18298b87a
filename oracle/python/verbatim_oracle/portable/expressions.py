"""Small templates, one trait of Jinja2 (as transformers sets it up) each; and the variables they see."""

VARIABLES = {
    "s": "  Hello, Wörld!\n", "e": "", "w": "one two  three", "u": "é世😀\"'<&>\\", "n": 7, "neg": -3, "f": 2.5, "z": 0.0,
    "one": 1.0, "huge": 1e21, "tiny": 1e-7, "big": 12345678901234567890, "t": True, "no": False, "nil": None,
    "l": [3, 1, 2], "ls": ["b", "a", "C"], "d": {"b": 1, "a": [1, "x", None, True, 1.5]}, "empty": {},
    "rows": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}, {"v": 4}],
}

_PRINT = ["{{ t }} {{ no }} {{ nil }}", "{{ n }} {{ neg }} {{ f }} {{ one }} {{ z }} {{ huge }} {{ tiny }} {{ big }}",
          "{{ l }} {{ ls }} {{ d }} {{ empty }} {{ [] }}", "{{ [u, \"it's\", 'a\"b', 'a\\nb\\t'] }}", "{{ (1, 'a') }} {{ (1,) }}",
          "{{ missing }}|{{ d.missing }}|{{ d['b'] }}|{{ d.b }}", "{{ missing.deeper }}", "{{ l[5] }}|{{ l[-1] }}",
          "{{ 7 // 2 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7.5 % 2 }}", "{{ 'a' ~ 1 ~ nil ~ t ~ 1.0 }}",
          "{{ 'ab' * 3 }} {{ [1] * 2 }} {{ [1] + [2] }}", "{{ 'a' + 1 }}", "{{ 1 if t else 2 }}{{ 1 if no }}|", "{{ 3 > 2 > 1 }} {{ 1 == 1.0 }} {{ '1' == 1 }}",
          "{{ 'a' in 'cat' }} {{ 2 in l }} {{ 'b' in d }} {{ 'q' not in d }}", "{{ t and 'x' }} {{ e or 'y' }} {{ not e }}"]
_SLICE = ["{{ s[2:5] }}|{{ s[::-1] }}|{{ s[-2:] }}|{{ u[1] }}|{{ u[::2] }}", "{{ l[1:] }}{{ l[:-1] }}{{ l[::-1] }}", "{{ rows[1:] | length }}"]
_METHODS = ["{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\\n a'.lstrip('\\n') }}",
            "{{ w.split() }}{{ w.split(' ') }}{{ w.split(' ', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a\\nb\\n'.splitlines() }}",
            "{{ w.startswith('one') }}{{ w.endswith(('x', 'three')) }}{{ w.startswith(('q', 'o')) }}",
            "{{ w.replace('o', '0') }}|{{ w.replace('o', '0', 1) }}", "{{ w.upper() }}{{ 'ABC'.lower() }}{{ w.title() }}{{ w.capitalize() }}",
            "{{ w.find('two') }} {{ w.find('q') }} {{ w.count('t') }} {{ w.index('t') }}", "{{ ', '.join(ls) }}{{ '{} {}'.format(1, 'x') }}{{ '%s-%d' % ('a', 3) }}",
            "{{ '7'.zfill(3) }}{{ 'a'.isdigit() }}{{ '12'.isdigit() }}{{ 'a'.isalpha() }}",
            "{{ d.items() | list }}{{ d.keys() | list }}{{ d.values() | list }}", "{{ d.get('b') }}{{ d.get('q') }}{{ d.get('q', 5) }}",
            "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}", "{{ 'a-b'.partition('-') }}"]
_JSON = ["{{ d | tojson }}", "{{ u | tojson }}", "{{ d | tojson(indent=2) }}", "{{ d | tojson(indent=4) }}", "{{ empty | tojson }}{{ [] | tojson }}{{ [] | tojson(indent=2) }}",
         "{{ [1.0, 0.1, 1e21, 1e-7, 100000000000000000000, -0.0] | tojson }}", "{{ [t, no, nil] | tojson }}", "{{ {'z': 1, 'a': 2} | tojson(sort_keys=true) }}",
         "{{ u | tojson(ensure_ascii=true) }}", "{{ d | tojson(separators=(',', ':')) }}", "{{ '</script>\\u2028\\x7f\\x01' | tojson }}", "{{ (1, 2) | tojson }}"]
_FILTERS = ["{{ s | trim }}|{{ w | upper }}{{ w | title }}{{ w | capitalize }}|{{ w | wordcount }}", "{{ l | sort }}{{ l | sort(reverse=true) }}{{ ls | sort }}{{ ls | sort(case_sensitive=true) }}",
            "{{ l | length }}{{ d | length }}{{ u | length }}{{ s | count }}", "{{ l | first }}{{ l | last }}{{ l | sum }}{{ l | min }}{{ l | max }}{{ [] | first }}|",
            "{{ l | join(', ') }}{{ rows | map(attribute='v') | join('-') }}{{ ls | map('upper') | list }}", "{{ missing | default('x') }}{{ e | default('x') }}{{ e | default('x', true) }}{{ nil | default('x') }}",
            "{{ rows | selectattr('k', 'defined') | list | length }}{{ rows | selectattr('k', 'equalto', 'x') | map(attribute='v') | list }}{{ rows | rejectattr('k', 'undefined') | list | length }}",
            "{{ l | select('odd') | list }}{{ l | reject('equalto', 1) | list }}{{ [1, none, 2] | select | list }}", "{{ ['a', 'b', 'a'] | unique | list }}{{ d | dictsort }}{{ d | items | list }}",
            "{{ f | round }}{{ 2.567 | round(2) }}{{ 2.1 | round(0, 'ceil') }}{{ neg | abs }}{{ '12' | int }}{{ 'x' | int }}{{ '2.5' | float }}{{ f | int }}", "{{ n | string ~ f | string }}{{ l | string }}{{ u | list }}",
            "{{ 'a\\nb\\n\\nc' | indent(2) }}|{{ 'a\\nb' | indent(2, first=true) }}|{{ 'a\\n\\nb' | indent(2, false, true) }}", "{{ w | replace('o', '0') }}{{ w | reverse }}{{ l | reverse | list }}",
            "{{ '<&\">' | e }}{{ '<b>' | escape }}{{ '<b>' | safe }}", "{% for g in rows | groupby('v') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}", "{{ [1,2,3,4,5] | batch(2) | list }}{{ [1,2,3] | slice(2) | list }}",
            "{{ '%05.2f' | format(3.14159) }}", "{{ l | attr('x') }}|{{ rows[0] | tojson | length }}"]
_TESTS = ["{{ s is string }}{{ n is string }}{{ n is number }}{{ f is float }}{{ n is integer }}{{ t is boolean }}{{ t is number }}{{ nil is none }}", "{{ d is mapping }}{{ l is mapping }}{{ l is sequence }}{{ s is sequence }}{{ l is iterable }}{{ s is iterable }}{{ n is iterable }}",
          "{{ x is defined }}{{ n is defined }}{{ x is undefined }}{{ d.q is defined }}", "{{ 2 is even }}{{ 2 is odd }}{{ 6 is divisibleby 3 }}{{ t is true }}{{ no is false }}{{ n is eq 7 }}{{ n is gt 5 }}{{ 1 is in l }}", "{{ 'A' is upper }}{{ 'a' is lower }}{{ l is callable }}"]
_BLOCKS = ["{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }};{% endfor %}", "{% for i in [] %}x{% else %}none{% endfor %}", "{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{% endfor %}",
           "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}", "{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i) }}{% endfor %}",
           "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}",
           "{% macro m(a, b='d', *c) %}{{ a }}{{ b }}{{ caller is defined }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "{% filter upper %}a{{ n }}b{% endfilter %}", "{% raw %}{{ x }}{% endraw %}", "a{# comment #}b",
           "{% generation %}x{{ n }}{% endgeneration %}", "{% if no %}a{% elif t %}b{% else %}c{% endif %}", "{% if l and not empty and not z %}x{% endif %}", "{% with x = 5 %}{{ x }}{% endwith %}", "{% for k in d %}{{ k }}{% endfor %}{% for k, v in d | dictsort %}{{ k }}{% endfor %}", "{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }}{% endfor %}",
           "{% for r in rows recursive %}{{ r.v }}{% endfor %}", "{{ range(3) | list }}{{ range(1, 6, 2) | list }}{% for i in range(l | length) %}{{ i }}{% endfor %}", "{{ dict(a=1, b='x') }}"]
_SPACE = ["a\n{% if t %}\nb\n{% endif %}\nc\n", "  {% if t %}  \n  b\n  {% endif %}  \nc", "a {{- ' b ' -}} c", "{%- if t -%} x {%- endif -%} y", "\n\na\n\n", "a\n   {#- c -#}\n  b", "  {% set x = 1 %}\n{{ x }}\n", "{% for i in l %}\n  {{ i }}\n{% endfor %}\nend", "a\t{% if t +%}\nb{% endif %}", "x\r\n{% if t %}\r\ny\r\n{% endif %}z"]
_ERRORS = ["{{ raise_exception('No tools: ' ~ n) }}", "{{ 1 / 0 }}", "{{ n.foo() }}", "{{ nil + 1 }}", "{% if %}", "{{ x | nofilter }}", "{% unknown %}", "{{ l | join(1, 2, 3, 4) }}", "{{ undefined_function() }}", "{% for %}"]

SNIPPETS = [*_PRINT, *_SLICE, *_METHODS, *_JSON, *_FILTERS, *_TESTS, *_BLOCKS, *_SPACE, *_ERRORS]

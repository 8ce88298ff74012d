"""An agent: it plays a letter game with the model through the OpenAI client, as a program that knows nothing of Gatewise would."""

from string import ascii_lowercase

from openai import AsyncOpenAI


async def find(question: str, secret: str, base_url: str, api_key: str) -> float:
    """1.0 if the model says the letter while it has turns left, else 0.0; what is no letter ends the game."""
    async with AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        messages = [{"role": "user", "content": question}]
        while True:
            completion = await client.chat.completions.create(model="policy", messages=messages)
            said = completion.choices[0].message.content or ""
            if completion.choices[0].finish_reason != "stop" or len(said) != 1 or said not in ascii_lowercase:
                return 0.0
            if said == secret:
                return 1.0
            messages.append(completion.choices[0].message)
            messages.append({"role": "user", "content": "up" if said < secret else "down"})

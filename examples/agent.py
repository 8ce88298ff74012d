"""An agent: it plays the number game with the model through the OpenAI client, as a program that knows nothing of Gatewise would."""

from openai import AsyncOpenAI


async def guess(question: str, secret: int, base_url: str, api_key: str) -> float:
    """1.0 if the model says the number while it has turns left, else 0.0; what is no number ends the game."""
    async with AsyncOpenAI(base_url=base_url, api_key=api_key) as client:
        messages = [{"role": "user", "content": question}]
        while True:
            completion = await client.chat.completions.create(model="policy", messages=messages)
            said = completion.choices[0].message.content or ""
            if completion.choices[0].finish_reason != "stop" or not said.isdigit():
                return 0.0
            if int(said) == secret:
                return 1.0
            messages.append(completion.choices[0].message)
            messages.append({"role": "user", "content": "higher" if int(said) < secret else "lower"})

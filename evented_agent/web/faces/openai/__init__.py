"""What both of OpenAI's protocols share: fields, errors, models, answers that are waited for."""

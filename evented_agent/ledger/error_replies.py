"""What an error reply of Redis means, by its first word: "not now" or "never".

The words are those of Redis 6.2 to 8 and Valkey 8 and 9, and of what stands in front of them. A
word that is not here counts as "never": trying again would only hide it.

Replies come in three forms: as the server's own (``MISCONF Errors writing …``), from inside a
script (``MISCONF Errors writing … script: on @user_script:1.``, before Redis 7 ``ERR Error running
script …: @user_script: 1: -MISCONF Errors writing …``), and as a class of redis-py, which takes the
word away.
"""

import re
from dataclasses import dataclass

import redis
from redis import exceptions

#: Whatever may come instead of an answer.
CONNECTION_FAILURES = (redis.RedisError, OSError)

#: Replies that pass: the same is asked again until the time for it is over.
NOT_NOW = {
    "ASK": "the slot of this run is moving to another node",
    "BUSY": "somebody's script keeps the server busy; it may need SCRIPT KILL or FUNCTION KILL",
    "CLUSTERDOWN": "the cluster has no majority, or nobody serves the slot of this run",
    "INPROG": "a failover is under way",
    "LOADING": "the server has started, and reads its data from the disk",
    "MASTERDOWN": "this is a replica that has lost its master",
    "MISCONF": "the server cannot write to its disk; see its log, and its disk's free space",
    "NOGOODPRIMARY": "a failover is under way",
    "NOGOODSLAVE": "a failover has found no replica that could take over yet",
    "NOMASTERLINK": "this is a replica that has lost its master",
    "NOQUORUM": "too few Sentinels agree",
    "NOREPLICAS": "fewer replicas are connected than min-replicas-to-write asks for",
    "NOSCRIPT": "the server forgot a script between two requests",
    "OOM": "the server is out of memory; raise its maxmemory, or delete what is not needed",
    "READONLY": "this is a replica; another server is the master, or will be",
    "REDIRECT": "this is a replica; another server is the master",
    "TRYAGAIN": "the slot of this run is moving to another node",
    "UNBLOCKED": "the server has become a replica",
}

#: Replies that stay: asking again changes nothing, somebody has to act.
NEVER = {
    "BUSYGROUP": "The keys of this prefix belong to another program; choose another prefix.",
    "BUSYKEY": "The keys of this prefix belong to another program; choose another prefix.",
    "CROSSSLOT": "Runs are spread by their hash tags; check what rewrites the names of the keys.",
    "DENIED": "Set a password there, or let the server listen where only this machine connects.",
    "ERR": "Check the server's version (6.2 or later), its renamed commands and its log.",
    "EXECABORT": "Check what stands between this process and the server.",
    "INVALIDOBJ": "A key is damaged; check the server's log.",
    "IOERR": "The server could not reach another one; check its log.",
    "MOVED": "This is one node of a cluster, and another has the run: let the URL begin with "
    "redis+cluster://, or rediss+cluster:// for TLS.",
    "NOAUTH": "Put the password into the URL; that of Sentinels is ?sentinel_password=….",
    "NOGROUP": "The keys of this prefix belong to another program; choose another prefix.",
    "NOPERM": "Allow this user the scripts (EVAL, EVALSHA, SCRIPT), the commands that they call, "
    "and all keys that begin with the prefix; the prefix can be changed with Settings(prefix=…).",
    "NOPROTO": "Check what stands between this process and the server: it must speak RESP2.",
    "NOTBUSY": "Check what stands between this process and the server.",
    "TLS": "Where the server does not encrypt, let the URL begin with redis://. Else name the "
    "authority that signed its certificate, ?ssl_ca_certs=/path/to/ca.pem, or trust anybody with "
    "?ssl_cert_reqs=CERT_NONE; for Celery's broker_url the same goes into broker_use_ssl.",
    "UNKILLABLE": "Check what stands between this process and the server.",
    "WRONGPASS": "Correct the user and the password in the URL, or enable the user.",
    "WRONGTYPE": "The keys of this prefix belong to another program; choose another prefix.",
}

#: After these whoever is in charge may be reached by a new connection only: behind one address
#: another server has taken over, and the old connections stay with the one that lost its part.
ELSEWHERE = frozenset(
    (
        *("INPROG", "LOADING", "MASTERDOWN", "NOMASTERLINK", "NOREPLICAS", "READONLY", "REDIRECT"),
        "UNBLOCKED",
    )
)

#: The word that redis-py turned into a class; the first that fits, so subclasses come first.
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.AuthenticationError, "NOAUTH"),
    (exceptions.AuthorizationError, "NOPERM"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.TryAgainError, "TRYAGAIN"),
)
_WORD = re.compile(r"-?([A-Z]{2,})(?=\s|$)")
#: Before Redis 7 a script's error names the call, then says what that was answered.
_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -([A-Z]{2,})(?=\s|$)")
#: What a script is told, in words, where a client would be told NOPERM.
_NO_PERMISSION = ("ACL failure in script", "The user executing the script can't")
#: What follows in a reply are the arguments of the call, which are nobody's business.
_ARGUMENTS = re.compile(r",? with args beginning with.*", re.DOTALL)
_MOST_TEXT = 300
#: What no other try changes when an encrypted connection is made.
_TLS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
#: Replies that older versions of redis-py turn into the class of another word.
_WORDLESS = {"invalid username-password pair or user is disabled.": "WRONGPASS"}
_NO_CLUSTER = "cluster support disabled"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failure means: *word* is the reply's first, "" where there was no reply.

    *passes* tells whether asking again may help, *reconnects* whether only over a new connection;
    *text* is what the server said, *meaning* what it means, or what to do.
    """

    word: str
    text: str
    passes: bool
    meaning: str

    @property
    def reconnects(self) -> bool:
        return self.word in ELSEWHERE


def refusal_of(error: BaseException) -> Refusal:
    """Read *error*, one of `CONNECTION_FAILURES`."""
    word = _word(error)
    text = _ARGUMENTS.sub("", str(error))[:_MOST_TEXT]
    if not word:
        return Refusal("", f"{type(error).__name__}: {text}", passes=True, meaning="")
    if word not in text:
        text = f"{word} {text}"
    if word in NOT_NOW:
        return Refusal(word, text, passes=True, meaning=NOT_NOW[word])
    meaning = NEVER.get(word, NEVER["ERR"])
    if _NO_CLUSTER in text:
        meaning = "It is one server: let the URL begin with redis://, or rediss:// for TLS."
    return Refusal(word, text, passes=False, meaning=meaning)


def _word(error: BaseException) -> str:
    for class_, word in _CLASSES:
        if isinstance(error, class_):
            # Those that came with another word, as WRONGPASS does, kept it beside the text.
            given = getattr(error, "status_code", None) or _WORDLESS.get(str(error))
            return given if given in NOT_NOW or given in NEVER else word
    if not isinstance(error, redis.ResponseError):
        if any(said in str(error) for said in _TLS):
            return "TLS"
        # No reply at all, or too many clients, which is a `redis.ConnectionError` as well.
        is_away = isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError))
        return "" if is_away else "ERR"
    text = str(error)
    if inside := _IN_SCRIPT.search(text):
        return inside[1]
    if any(said in text for said in _NO_PERMISSION):
        return "NOPERM"
    first = _WORD.match(text)
    return first[1] if first else "ERR"

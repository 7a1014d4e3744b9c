"""A small Hugging Face Hub on the loopback interface, for tests that must not need the network.

The hub serves miniature repositories under their real ids and in their real layouts, so that
huggingface_hub, datasets, mteb and sentence-transformers run unchanged against it: point a
subprocess at it with the environment from :meth:`LoopbackHub.env`.

    with LoopbackHub() as hub:
        commit = hub.add_repo("model", "jhu-clsp/ettin-encoder-17m", tiny_encoder_files(0, WORDS))
        subprocess.run([sys.executable, "script.py"], env=hub.env(tmp_path), check=True)

The server itself needs the standard library only; pyarrow writes the parquet files, and numpy
and tokenizers (both come with transformers) build the encoders.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import string
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

RepoType = Literal["model", "dataset"]
Row = Mapping[str, Any]

ETTIN_ENCODERS = tuple(
    f"jhu-clsp/ettin-encoder-{size}" for size in ("17m", "32m", "68m", "150m", "400m", "1b")
)
MS_MARCO = "microsoft/ms_marco"
TRIPLETS = "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1"

# The BEIR tasks as mteb 2.26.24 names and pins them: task -> (dataset, revision). Its
# CQADupstackRetrieval is the mean of the twelve CQADupstack tasks and has no data of its own.
_MTEB_TASKS = """
ArguAna arguana c22ab2a51041ffd869aaddef7af8d8215647e41a
ClimateFEVER climate-fever 47f2ac6acb640fc46020b02a5b59fdda04d39380
CQADupstackAndroidRetrieval CQADupstackAndroidRetrieval 9be4c0e46342e8e3aff577a89b9a1ec9bc6b4af3
CQADupstackEnglishRetrieval cqadupstack-english ad9991cb51e31e31e430383c75ffb2885547b5f0
CQADupstackGamingRetrieval cqadupstack-gaming 4885aa143210c98657558c04aaf3dc47cfb54340
CQADupstackGisRetrieval cqadupstack-gis 5003b3064772da1887988e05400cf3806fe491f2
CQADupstackMathematicaRetrieval cqadupstack-mathematica 90fceea13679c63fe563ded68f3b6f06e50061de
CQADupstackPhysicsRetrieval cqadupstack-physics 79531abbd1fb92d06c6d6315a0cbbbf5bb247ea4
CQADupstackProgrammersRetrieval cqadupstack-programmers 6184bc1440d2dbc7612be22b50686b8826d22b32
CQADupstackStatsRetrieval cqadupstack-stats 65ac3a16b8e91f9cee4c9828cc7c335575432a2a
CQADupstackTexRetrieval cqadupstack-tex 46989137a86843e03a6195de44b09deda022eec7
CQADupstackUnixRetrieval cqadupstack-unix 6c6430d3a6d36f8d2a829195bc5dc94d7e063e53
CQADupstackWebmastersRetrieval cqadupstack-webmasters 160c094312a0e1facb97e55eeddb698c0abe3571
CQADupstackWordpressRetrieval cqadupstack-wordpress 4ffe81d471b1924886b33c7567bfb200e9eec5c4
DBPedia dbpedia c0f706b76e590d620bd6618b3ca8efdd34e2d659
FEVER fever bea83ef9e8fb933d90a2f1d5515737465d613e12
FiQA2018 fiqa 27a168819829fe9bcd655c2df245fb19452e8e06
HotpotQA hotpotqa ab518f4d6fcca38d87c25209f94beba119d02014
MSMARCO msmarco c5a29a104738b98a9e76336939199e264163d4a0
NFCorpus nfcorpus ec0fa4fe99da2ff19ca1214b7966684033a58814
NQ nq b774495ed302d8c44a3a7ea25c90dbce03968f31
QuoraRetrieval quora e4e08e0b7dbe3c8700f0daef558ff32256715259
SCIDOCS scidocs f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88
SciFact scifact d56462d0e63a25450459c4f213e49ffdb866f7f9
Touche2020 touche2020 a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f
Touche2020Retrieval.v3 webis-touche2020-v3 431886eaecc48f067a3975b70d0949ea2862463c
TRECCOVID trec-covid bb9466bac8153a0349341eb1b22e06409e78ef4e
"""
MTEB_TASKS: dict[str, tuple[str, str]] = {
    task: (f"mteb/{dataset}", revision)
    for task, dataset, revision in (line.split() for line in _MTEB_TASKS.strip().splitlines())
}

TASKS_WITH_EMPTY_PASSAGES = ("FiQA2018", "TRECCOVID")
"""As published: mteb's statistics say of both that their shortest passage has no character."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LFS_SUFFIXES = (".safetensors", ".parquet", ".jsonl", ".bin")
_DATE = "2025-01-01T00:00:00.000Z"
_GITATTRIBUTES = "".join(
    f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LFS_SUFFIXES
).encode()


# ------------------------------------------------------------------------------ repositories


@dataclass(frozen=True)
class _File:
    """One file of a commit; large kinds carry a sha256, as files in LFS do on the real hub."""

    path: str
    data: bytes = field(repr=False)
    oid: str
    sha256: str | None

    @classmethod
    def of(cls, path: str, data: bytes) -> _File:
        """The file with its git blob id and, for LFS suffixes, its content hash."""
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        lfs = path.endswith(_LFS_SUFFIXES)
        return cls(path, data, oid, hashlib.sha256(data).hexdigest() if lfs else None)

    def entry(self) -> dict[str, Any]:
        """The file as the tree and paths-info endpoints describe it."""
        size = len(self.data)
        entry: dict[str, Any] = {
            "type": "file",
            "oid": self.oid,
            "size": size,
            "path": self.path,
        }
        if self.sha256 is not None:
            entry["lfs"] = {"oid": self.sha256, "size": size, "pointerSize": 134}
        return entry


@dataclass
class _Repo:
    """One repository: its commits, each a full set of files, and the names that point at them."""

    kind: RepoType
    id: str
    commits: dict[str, dict[str, _File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit_of(self, revision: str) -> str | None:
        """The commit a branch, tag or commit names, or None."""
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def folders(self, commit: str) -> dict[str, dict[str, Any]]:
        """Every folder of a commit, as the tree endpoint describes it."""
        names = {
            str(parent)
            for path in self.commits[commit]
            for parent in Path(path).parents
            if str(parent) != "."
        }
        return {
            name: {
                "type": "directory",
                "oid": hashlib.sha1(f"{commit}/{name}".encode()).hexdigest(),
                "size": 0,
                "path": name,
            }
            for name in sorted(names)
        }

    def entries(self, commit: str) -> dict[str, dict[str, Any]]:
        """Files and folders of a commit by path."""
        files = {path: file.entry() for path, file in self.commits[commit].items()}
        return dict(sorted({**self.folders(commit), **files}.items()))

    def info(self, commit: str) -> dict[str, Any]:
        """The answer of /api/models/ID and /api/datasets/ID."""
        return {
            "_id": commit[:24],
            "id": self.id,
            "modelId" if self.kind == "model" else "datasetId": self.id,
            "author": self.id.split("/")[0],
            "sha": commit,
            "lastModified": _DATE,
            "createdAt": _DATE,
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(self.commits[commit])],
        }


class _HubError(Exception):
    """A request that the real hub answers with a 404 and an X-Error-Code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# ------------------------------------------------------------------------------------ server


class _Server(ThreadingHTTPServer):
    """The listening socket, with a way back to the hub it belongs to."""

    daemon_threads = True
    hub: LoopbackHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet when a client hangs up, which clients do at every exit."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection, with the headers huggingface_hub looks at."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean: the hub has its own request log."""

    def do_HEAD(self) -> None:
        """Answer like GET, without the body."""
        self._answer()

    def do_GET(self) -> None:
        """Answer a repository, tree or file request."""
        self._answer()

    def do_POST(self) -> None:
        """Answer paths-info, the one POST the clients make."""
        self._answer()

    def _answer(self) -> None:
        """Log the request, then answer it, fail it on demand, or report what is missing."""
        hub = cast(_Server, self.server).hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        failure = hub._note(self.path)
        if failure == "close":
            self.close_connection = True
            return
        if failure == "500":
            self._send(500, b'{"error":"Internal Error"}', {"X-Error-Message": "Internal Error"})
            return
        try:
            self._route(hub, body)
        except _HubError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
            self._send(404, json.dumps({"error": str(error)}).encode(), headers)

    def _route(self, hub: LoopbackHub, body: bytes) -> None:
        """Take the path apart and hand it to the API or to the file endpoint."""
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[0] == "api" and len(parts) >= 4 and parts[1] in ("models", "datasets"):
            repo = hub._repo("model" if parts[1] == "models" else "dataset", *parts[2:4])
            self._api(repo, parts[4:], body)
            return
        kind: RepoType = "dataset" if parts[0] == "datasets" else "model"
        parts = parts[1:] if kind == "dataset" else parts
        if len(parts) < 5 or parts[2] not in ("resolve", "raw"):
            raise _HubError("RepoNotFound", "Repository not found")
        self._file(hub._repo(kind, *parts[:2]), parts[3], "/".join(parts[4:]))

    def _commit(self, repo: _Repo, revision: str) -> str:
        """The commit a request means, or the hub's answer for an unknown revision."""
        commit = repo.commit_of(revision)
        if commit is None:
            raise _HubError("RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, repo: _Repo, rest: Sequence[str], body: bytes) -> None:
        """Answer /api/TYPE/ID[/revision/REV], /refs, /tree/REV[/PATH] and /paths-info/REV."""
        action, arguments = (rest[0], rest[1:]) if rest else ("revision", ["main"])
        if action == "refs":
            self._json(_refs(repo))
            return
        if action not in ("revision", "tree", "paths-info") or not arguments:
            raise _HubError("EntryNotFound", "Not found")
        commit = self._commit(repo, arguments[0])
        if action == "revision":
            self._json(repo.info(commit))
        elif action == "tree":
            self._json(self._tree(repo, commit, "/".join(arguments[1:])))
        else:
            self._json(_paths_info(repo, commit, body, self.headers.get("Content-Type") or ""))

    def _tree(self, repo: _Repo, commit: str, folder: str) -> list[dict[str, Any]]:
        """The entries below a folder, its direct children only unless asked for recursion."""
        query = parse_qs(urlsplit(self.path).query)
        recursive = query.get("recursive", ["false"])[0].lower() in ("1", "true")
        if folder and folder not in repo.folders(commit):
            raise _HubError("EntryNotFound", f'"{folder}" does not exist on "{commit}"')
        prefix = f"{folder}/" if folder else ""
        return [
            entry
            for path, entry in repo.entries(commit).items()
            if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
        ]

    def _file(self, repo: _Repo, revision: str, path: str) -> None:
        """Answer a file, whole or the range asked for."""
        commit = self._commit(repo, revision)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        file = repo.commits[commit].get(path)
        if file is None:
            raise _HubError("EntryNotFound", "Entry not found")
        headers["ETag"] = f'"{file.sha256 or file.oid}"'
        if file.sha256 is not None:
            headers["X-Linked-Size"] = str(len(file.data))
            headers["X-Linked-ETag"] = headers["ETag"]
        status, data = 200, file.data
        span = _span(self.headers.get("Range"), len(data))
        if span is not None:
            start, stop = span
            status, data = (206, data[start:stop]) if start < stop else (416, b"")
            shown = f"{start}-{stop - 1}" if start < stop else "*"
            headers["Content-Range"] = f"bytes {shown}/{len(file.data)}"
        self._send(status, data, headers, "application/octet-stream")

    def _json(self, value: Any) -> None:
        """Answer a JSON document."""
        self._send(200, json.dumps(value).encode())

    def _send(
        self,
        status: int,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        content_type: str = "application/json; charset=utf-8",
    ) -> None:
        """Write the response; a HEAD gets the headers of the GET and no body."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _refs(repo: _Repo) -> dict[str, Any]:
    """The answer of /refs: main as a branch, every other name as a tag."""
    refs: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
    for name, commit in sorted(repo.refs.items()):
        kind, group = ("heads", "branches") if name == "main" else ("tags", "tags")
        refs[group].append({"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit})
    return dict(refs)


def _paths_info(repo: _Repo, commit: str, body: bytes, content_type: str) -> list[dict[str, Any]]:
    """The entries of the paths posted, as a form or as JSON; paths that do not exist drop out."""
    if "json" in content_type:
        posted = json.loads(body or b"{}").get("paths", [])
        paths = [posted] if isinstance(posted, str) else posted
    else:
        paths = parse_qs(body.decode()).get("paths", [])
    entries = repo.entries(commit)
    return [entries[path] for path in paths if path in entries]


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open byte range a Range header asks for, or None for the whole file."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


# --------------------------------------------------------------------------------------- hub


class LoopbackHub:
    """A hub to enter as a context manager; repositories may be added before and during it.

    ``root`` is the folder that relative paths in ``add_repo(files=...)`` are read from.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root is not None else Path()
        self.requests: list[str] = []
        self._repos: dict[tuple[RepoType, str], _Repo] = {}
        self._lock = threading.Lock()
        self._failure: tuple[int, str] | None = None
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_repo(
        self,
        repo_type: RepoType,
        repo_id: str,
        files: Mapping[str, bytes | Path],
        revision: str | None = None,
    ) -> str:
        """Add a commit to a repository, new or known, and return its 40 hexadecimal digits.

        The commit answers under ``main``, under itself and under ``revision``. It is derived from
        the files, except that a ``revision`` which looks like a commit becomes the commit, as
        pinned revisions on the real hub are. Earlier commits of the repository keep answering.
        """
        if repo_id.count("/") != 1:
            raise ValueError(f"a repository id is NAMESPACE/NAME, not {repo_id!r}")
        contents = {}
        for path, data in sorted(files.items()):
            content = data if isinstance(data, bytes) else (self.root / data).read_bytes()
            contents[path] = _File.of(path, content)
        listing = json.dumps([repo_type, repo_id, [[f.path, f.oid] for f in contents.values()]])
        commit = hashlib.sha1(listing.encode()).hexdigest()
        if revision is not None and _COMMIT.fullmatch(revision):
            commit = revision
        with self._lock:
            repo = self._repos.setdefault((repo_type, repo_id), _Repo(repo_type, repo_id))
            repo.commits[commit] = contents
            repo.refs["main"] = commit
            if revision is not None and revision != commit:
                repo.refs[revision] = commit
        return commit

    def add_mteb_task(
        self,
        task_name: str,
        corpus: Mapping[str, Row | str],
        queries: Mapping[str, str],
        qrels: Mapping[str, Mapping[str, Mapping[str, int]]],
    ) -> str:
        """Serve a BEIR task under the dataset and the revision that mteb pins for it."""
        repo_id, revision = MTEB_TASKS[task_name]
        files = mteb_retrieval_files(task_name, corpus, queries, qrels)
        return self.add_repo("dataset", repo_id, files, revision)

    def env(self, cache: Path) -> dict[str, str]:
        """The environment of this process, pointed at the hub, with every cache below ``cache``."""
        dropped = {
            "HF_HUB_OFFLINE",
            "HF_DATASETS_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_DATASETS_CACHE",
            "HF_ASSETS_CACHE",
            "HF_XET_CACHE",
            "TRANSFORMERS_CACHE",
            "SENTENCE_TRANSFORMERS_HOME",
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_TOKEN_PATH",
        }
        proxies = {"http_proxy", "https_proxy", "all_proxy"}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in dropped and name.lower() not in proxies
        }
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "MTEB_CACHE": str(Path(cache) / "mteb"),
            "NO_PROXY": "127.0.0.1,localhost",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def fail_after(self, requests: int, how: Literal["500", "close"] = "500") -> None:
        """Answer that many further requests, then fail every one until :meth:`recover`.

        ``"500"`` answers an internal error, ``"close"`` hangs up without an answer.
        """
        with self._lock:
            self._failure = (requests, how)

    def recover(self) -> None:
        """Answer again after :meth:`fail_after`."""
        with self._lock:
            self._failure = None

    def _note(self, path: str) -> str | None:
        """Log a request and say how it has to fail, if it has to."""
        with self._lock:
            self.requests.append(path)
            if self._failure is None:
                return None
            left, how = self._failure
            self._failure = (left - 1, how)
            return how if left <= 0 else None

    def _repo(self, kind: RepoType, namespace: str, name: str) -> _Repo:
        """The repository a request means, or the hub's answer for an unknown one."""
        repo = self._repos.get((kind, f"{namespace}/{name}"))
        if repo is None:
            raise _HubError("RepoNotFound", "Repository not found")
        return repo


# ---------------------------------------------------------------------------------- encoders


def tiny_encoder_files(
    seed: int, vocabulary: Sequence[str], hidden: int = 32, layers: int = 2
) -> dict[str, bytes]:
    """A random ModernBERT as the Ettin encoders are published: plain transformers files.

    The shape is tiny, the file set and the configuration keys are Ettin's. The weights depend on
    the seed alone, and the tokenizer knows the vocabulary plus single letters and digits.
    """
    tokenizer = _tokenizer(vocabulary)
    ids = {name: tokenizer.token_to_id(f"[{name}]") for name in ("CLS", "SEP", "PAD")}
    config = _encoder_config(tokenizer.get_vocab_size(), hidden, layers, ids)
    special = {
        f"{name.lower()}_token": {
            "content": f"[{name}]",
            "lstrip": name == "MASK",
            "normalized": False,
            "rstrip": False,
            "single_word": False,
        }
        for name in ("CLS", "MASK", "PAD", "SEP", "UNK")
    }
    tokenizer_config = {
        "clean_up_tokenization_spaces": True,
        **{name: entry["content"] for name, entry in special.items()},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    card = {"license": "mit", "language": ["en"], "pipeline_tag": "fill-mask"}
    return {
        ".gitattributes": _GITATTRIBUTES,
        "README.md": _card(card, "Ettin encoder, miniature"),
        "config.json": _json_bytes(config),
        "model.safetensors": _encoder_weights(seed, config),
        "special_tokens_map.json": _json_bytes(special),
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": _json_bytes(tokenizer_config),
    }


def _tokenizer(vocabulary: Sequence[str]) -> Any:
    """A lower-casing word-piece tokenizer that frames its input in [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"]
    symbols = [*string.ascii_lowercase, *string.digits]
    pieces = [*special, *symbols, *(f"##{symbol}" for symbol in symbols), *string.punctuation]
    words = [word.lower() for word in vocabulary]
    vocab = {token: index for index, token in enumerate(dict.fromkeys([*pieces, *words]))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return tokenizer


def _encoder_config(
    vocab_size: int, hidden: int, layers: int, ids: Mapping[str, int]
) -> dict[str, Any]:
    """Ettin's config.json with the numbers of the miniature."""
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids["CLS"],
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "cls_token_id": ids["CLS"],
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": ids["SEP"],
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "hidden_activation": "gelu",
        "hidden_size": hidden,
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "intermediate_size": 2 * hidden,
        "layer_norm_eps": 1e-05,
        "local_attention": 128,
        "local_rope_theta": 160000.0,
        "max_position_embeddings": 7999,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "model_type": "modernbert",
        "norm_bias": False,
        "norm_eps": 1e-05,
        "num_attention_heads": max(1, hidden // 16),
        "num_hidden_layers": layers,
        "pad_token_id": ids["PAD"],
        "position_embedding_type": "sans_pos",
        "sep_token_id": ids["SEP"],
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "transformers_version": "4.48.0",
        "vocab_size": vocab_size,
    }


def _encoder_weights(seed: int, config: Mapping[str, Any]) -> bytes:
    """Random weights of a ModernBertForMaskedLM in the safetensors format."""
    import numpy as np

    hidden, inner, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    shapes = {
        "model.embeddings.tok_embeddings.weight": (vocab, hidden),
        "model.embeddings.norm.weight": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        if layer:  # the first layer has no attention norm: the embeddings are normalised already
            shapes[f"{name}.attn_norm.weight"] = (hidden,)
        shapes[f"{name}.attn.Wqkv.weight"] = (3 * hidden, hidden)
        shapes[f"{name}.attn.Wo.weight"] = (hidden, hidden)
        shapes[f"{name}.mlp_norm.weight"] = (hidden,)
        shapes[f"{name}.mlp.Wi.weight"] = (2 * inner, hidden)
        shapes[f"{name}.mlp.Wo.weight"] = (hidden, inner)
    shapes["model.final_norm.weight"] = (hidden,)
    shapes["head.dense.weight"] = (hidden, hidden)
    shapes["head.norm.weight"] = (hidden,)
    shapes["decoder.bias"] = (vocab,)

    generator = np.random.default_rng(seed)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    offset = 0
    for name, shape in shapes.items():
        if len(shape) == 2:
            array = generator.standard_normal(shape) * shape[1] ** -0.5
        else:
            array = np.zeros(shape) if name.endswith("bias") else np.ones(shape)
        blobs.append(array.astype("<f4").tobytes())
        stop = offset + len(blobs[-1])
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(blobs)


# ---------------------------------------------------------------------------------- datasets


def msmarco_files(rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, bytes]:
    """microsoft/ms_marco from config (v1.1, v2.1) to split to rows in its nested schema."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "answers": pa.list_(pa.string()),
            "passages": pa.struct(
                {
                    "is_selected": pa.list_(pa.int32()),
                    "passage_text": pa.list_(pa.string()),
                    "url": pa.list_(pa.string()),
                }
            ),
            "query": pa.string(),
            "query_id": pa.int32(),
            "query_type": pa.string(),
            "wellFormedAnswers": pa.list_(pa.string()),
        }
    )
    passages = [
        {"name": "is_selected", "dtype": "int32"},
        {"name": "passage_text", "dtype": "string"},
        {"name": "url", "dtype": "string"},
    ]
    features = [
        {"name": "answers", "sequence": "string"},
        {"name": "passages", "sequence": passages},
        {"name": "query", "dtype": "string"},
        {"name": "query_id", "dtype": "int32"},
        {"name": "query_type", "dtype": "string"},
        {"name": "wellFormedAnswers", "sequence": "string"},
    ]
    repo = _DatasetRepo()
    for config, splits in rows.items():
        for split, split_rows in splits.items():
            data = _parquet(split_rows, schema)
            repo.files[f"{config}/{split}-00000-of-00001.parquet"] = data
            repo.split(config, features, split, f"{config}/{split}-*", split_rows, len(data))
    return repo.finish({"language": ["en"]}, 'Dataset Card for "ms_marco", miniature')


def triplet_files(
    rows: Sequence[Row], config: str = "triplet-hard", shards: int = 2
) -> dict[str, bytes]:
    """The mined-triplets dataset with one config: query, positive and negative as text."""
    import pyarrow as pa

    columns = ("query", "positive", "negative")
    schema = pa.schema({column: pa.string() for column in columns})
    features = [{"name": column, "dtype": "string"} for column in columns]
    repo = _DatasetRepo()
    per_shard = -(-len(rows) // shards)
    for shard in range(shards):
        part = rows[shard * per_shard : (shard + 1) * per_shard]
        name = f"{config}/train-{shard:05}-of-{shards:05}.parquet"
        repo.files[name] = _parquet(part, schema)
    size = sum(map(len, repo.files.values()))
    repo.split(config, features, "train", f"{config}/train-*", rows, size)
    card = {"language": ["en"], "tags": ["sentence-transformers"]}
    return repo.finish(card, "MS MARCO mined triplets, miniature")


def mteb_retrieval_files(
    task_name: str,
    corpus: Mapping[str, Row | str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> dict[str, bytes]:
    """An mteb retrieval dataset as the BEIR ones are laid out on the hub.

    The corpus goes from id to text or to {"title", "text"}, the queries from id to text, and the
    judgements from split to query id to document id to score. Judgements are the config
    ``default`` with one file per split; corpus and queries have one split each, named like them.
    """
    documents = [
        {"_id": key, "title": "", "text": value}
        if isinstance(value, str)
        else {"_id": key, "title": value.get("title", ""), "text": value["text"]}
        for key, value in corpus.items()
    ]
    questions = [{"_id": key, "text": text} for key, text in queries.items()]
    repo = _DatasetRepo()
    for split, judged in qrels.items():
        rows = [
            {"query-id": query, "corpus-id": document, "score": float(score)}
            for query, scores in judged.items()
            for document, score in scores.items()
        ]
        repo.jsonl("default", {"score": "float64"}, split, f"qrels/{split}.jsonl", rows)
    repo.jsonl("corpus", {}, "corpus", "corpus.jsonl", documents)
    repo.jsonl("queries", {}, "queries", "queries.jsonl", questions)
    card = {"language": ["en"], "task_categories": ["text-retrieval"], "tags": ["mteb"]}
    return repo.finish(card, f"{task_name}, miniature")


class _DatasetRepo:
    """Collects the files of a dataset repository and the metadata of its README."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._info: dict[str, dict[str, Any]] = {}
        self._data_files: dict[str, list[dict[str, str]]] = {}

    def split(
        self,
        config: str,
        features: list[dict[str, Any]],
        split: str,
        path: str,
        rows: Sequence[Row],
        size: int,
    ) -> None:
        """Declare one split of one config."""
        info = self._info.setdefault(
            config, {"config_name": config, "features": features, "splits": []}
        )
        info["splits"].append({"name": split, "num_bytes": size, "num_examples": len(rows)})
        self._data_files.setdefault(config, []).append({"split": split, "path": path})

    def jsonl(
        self, config: str, dtypes: Mapping[str, str], split: str, path: str, rows: Sequence[Row]
    ) -> None:
        """Add one JSON-lines file as the split of a config; columns are strings by default."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        features = [{"name": column, "dtype": dtypes.get(column, "string")} for column in rows[0]]
        self.files[path] = data
        self.split(config, features, split, path, rows, len(data))

    def finish(self, card: Mapping[str, Any], title: str) -> dict[str, bytes]:
        """The files together with the README that declares them."""
        for info in self._info.values():
            size = sum(split["num_bytes"] for split in info["splits"])
            info.update(download_size=size, dataset_size=size)
        metadata = {
            **card,
            "dataset_info": list(self._info.values()),
            "configs": [
                {"config_name": config, "data_files": data_files}
                for config, data_files in self._data_files.items()
            ],
        }
        readme = _card(metadata, title)
        return {".gitattributes": _GITATTRIBUTES, "README.md": readme, **self.files}


def _parquet(rows: Iterable[Row], schema: Any) -> bytes:
    """Rows as one parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), sink)
    return sink.getvalue()


def _card(metadata: Mapping[str, Any], title: str) -> bytes:
    """A README whose YAML front matter holds the metadata; JSON values are YAML too."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in metadata.items()]
    return "\n".join(["---", *lines, "---", "", f"# {title}", ""]).encode()


def _json_bytes(value: Any) -> bytes:
    """A JSON document in the layout transformers writes."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


# ------------------------------------------------------------------------- synthetic contents

_SUBJECT_WORDS = (
    "apple anchor bridge candle castle cloud copper desert diamond dragon engine falcon feather "
    "forest garden glacier guitar hammer harbor island jungle kettle ladder lantern lemon magnet "
    "meadow mirror monsoon mountain nectar ocean orchard oxygen pepper piano planet pyramid "
    "rabbit river rocket saddle salmon sapphire temple thunder tiger tunnel violin volcano walnut "
    "whale window winter zebra"
)
_FILLER_WORDS = (
    "the a of is was in and about what how why when where does do people often very large small "
    "old known found made near first used called great many some"
)
_SUBJECTS, _FILLERS = _SUBJECT_WORDS.split(), _FILLER_WORDS.split()
WORDS: tuple[str, ...] = (*_FILLERS, *_SUBJECTS)


def _passage(generator: random.Random, subjects: Sequence[str]) -> str:
    """A passage that names its subjects among filler words."""
    words = [*subjects, *generator.choices(_FILLERS, k=8)]
    generator.shuffle(words)
    return " ".join(words).capitalize() + "."


def synthetic_msmarco_rows(
    count: int, seed: int = 0, passages: int = 6, unanswered_every: int = 0
) -> list[dict[str, Any]]:
    """MS MARCO rows with one selected passage each, which names the subjects of the query.

    With ``unanswered_every=n`` every n-th row selects no passage and has the answer
    "No Answer Present.", as some rows of v1.1 and many of v2.1 have.
    """
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        subjects = generator.sample(_SUBJECTS, 2 * passages)
        pairs = [subjects[2 * i : 2 * i + 2] for i in range(passages)]
        answered = not (unanswered_every and (index + 1) % unanswered_every == 0)
        selected = generator.randrange(passages) if answered else None
        about = pairs[selected] if selected is not None else generator.sample(_SUBJECTS, 2)
        rows.append(
            {
                "answers": [" and ".join(about)] if answered else ["No Answer Present."],
                "passages": {
                    "is_selected": [int(i == selected) for i in range(passages)],
                    "passage_text": [_passage(generator, pair) for pair in pairs],
                    "url": [f"http://example.org/{seed}/{index}/{i}" for i in range(passages)],
                },
                "query": f"what is the {about[0]} of the {about[1]}",
                "query_id": 1000 * seed + index,
                "query_type": generator.choice(["description", "entity", "numeric"]),
                "wellFormedAnswers": [],
            }
        )
    return rows


def synthetic_triplets(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Triplets whose positive names both subjects of the query and whose negative names one."""
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        first, second, other = generator.sample(_SUBJECTS, 3)
        rows.append(
            {
                "query": f"what is the {first} of the {second}",
                "positive": _passage(generator, [first, second]),
                "negative": _passage(generator, [first, other]),
            }
        )
    return rows


def synthetic_retrieval(
    queries: int, distractors: int, seed: int = 0
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, dict[str, int]]]:
    """A corpus with titles, queries, and one relevant document for each query."""
    generator = random.Random(seed)
    corpus: dict[str, dict[str, str]] = {}
    texts: dict[str, str] = {}
    judged: dict[str, dict[str, int]] = {}
    for index in range(queries + distractors):
        pair = generator.sample(_SUBJECTS, 2)
        corpus[f"d{index}"] = {"title": pair[0], "text": _passage(generator, pair)}
        if index < queries:
            texts[f"q{index}"] = f"what is the {pair[0]} of the {pair[1]}"
            judged[f"q{index}"] = {f"d{index}": 1}
    return corpus, texts, judged


def populate(hub: LoopbackHub, tasks: Iterable[str] = MTEB_TASKS, rows: int = 24) -> dict[str, str]:
    """Serve every repository the project uses, with synthetic contents: id -> commit."""
    commits = {
        repo_id: hub.add_repo("model", repo_id, tiny_encoder_files(seed, WORDS))
        for seed, repo_id in enumerate(ETTIN_ENCODERS)
    }
    msmarco = {
        config: {
            split: synthetic_msmarco_rows(count, 10 * number + offset, unanswered_every=every)
            for offset, (split, count) in enumerate(
                {"validation": rows // 2, "train": rows, "test": rows // 2}.items()
            )
        }
        for number, (config, every) in enumerate({"v1.1": 12, "v2.1": 3}.items())
    }
    commits[MS_MARCO] = hub.add_repo("dataset", MS_MARCO, msmarco_files(msmarco))
    commits[TRIPLETS] = hub.add_repo("dataset", TRIPLETS, triplet_files(synthetic_triplets(rows)))
    for seed, task in enumerate(tasks):
        corpus, queries, judged = synthetic_retrieval(6, 10, seed)
        if task in TASKS_WITH_EMPTY_PASSAGES:
            corpus["empty"] = {"title": "", "text": ""}
        if task == "TRECCOVID":
            judged["q0"]["empty"] = 1
        if task == "ArguAna":
            judged["q0"]["missing"] = 1
        names = ("train", "dev", "test") if task == "MSMARCO" else ("test",)
        splits = dict.fromkeys(names, judged)
        commits[MTEB_TASKS[task][0]] = hub.add_mteb_task(task, corpus, queries, splits)
    return commits

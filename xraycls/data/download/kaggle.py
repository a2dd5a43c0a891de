"""Kaggle's official client: signs in and says where a file lies. The only file that imports it, and requests.

What is used is ``kagglesdk``, the part of the ``kaggle`` package that talks to the server. ``import kaggle`` itself
signs in on import, makes a folder in the user's home, prints, deletes credentials that the server refuses, and calls
``exit()``, which also closes standard input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xraycls.data.download.catalogue import Source
from xraycls.data.download.credentials import Credential, no_credentials, user_and_key
from xraycls.data.download.retry import Failure, Kind, asked_wait
from xraycls.errors import MissingExtra, XrayclsError
from xraycls.version import __version__

if TYPE_CHECKING:
    from requests import RequestException, Response, Session

LOGIN = "~/.kaggle/credentials.json"
_AGENT = f"xraycls/{__version__}"
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends of a file.

    Attributes:
        status: 200 for the whole file, 206 for a part of it.
        headers: by name, in any case.
        pieces: the body as it comes; raises Failure where the line breaks.
    """

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Kaggle:
    """A user who is signed in.

    Args:
        credential: what signs the requests.
        timeout: seconds to get a connection, and between two pieces of an answer.
    """

    def __init__(self, credential: Credential, timeout: tuple[float, float]) -> None:
        self.credential = credential
        self.timeout = timeout

    @contextmanager
    def open(self, source: Source, file: str | None = None, *, start: int = 0, tag: str = "") -> Iterator[Answer]:
        """Open a file at an offset; the body is still to be read.

        Kaggle redirects to an address in its storage that is good for some hours, so every try asks anew.

        Args:
            source: the data set.
            file: one of its files; None for the archive of all.
            start: bytes to leave out; the server may ignore it and answer 200 with the whole file.
            tag: what told the version that the earlier bytes are of; the server sends all of a file that has changed.

        Raises:
            Failure: no line, or the server refuses.
            XrayclsError: certificates that are not where the environment says.
        """
        with _translated():
            response = self._response(source, file, start, tag)
        with closing(response):
            yield Answer(response.status_code, response.headers, _pieces(response))

    def _response(self, source: Source, file: str | None, start: int, tag: str) -> Response:
        import requests

        with _client(self.timeout, self.credential) as client:
            first = _ask(client, source, file)
        first.close()
        # The request that was answered in the end: after a redirect to another host it no longer carries the
        # credentials. The client can't ask for a part of a file, so it is sent once more with the range.
        request = first.request.copy()
        request.headers["Accept-Encoding"] = "identity"  # lengths and checksums are those of the file
        if start:
            request.headers.update({"Range": f"bytes={start}-", "If-Range": tag})
        session = requests.Session()
        settings = session.merge_environment_settings(request.url, {}, True, None, None)
        answer = session.send(request, timeout=self.timeout, **settings)
        answer.raise_for_status()
        return answer


def require_client() -> None:
    """Make sure that the client is there.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import kagglesdk  # noqa: F401
    except ImportError:
        raise MissingExtra("Kaggle's client", "kaggle") from None


def sign_in(timeout: tuple[float, float]) -> Kaggle:
    """Sign in with the first credential there is, in the order of the ``kaggle`` command.

    An access token (KAGGLE_API_TOKEN, ~/.kaggle/access_token), then the older user name and key (KAGGLE_USERNAME and
    KAGGLE_KEY, kaggle.json), then what ``kaggle auth login`` left (~/.kaggle/credentials.json). Only the last of
    them needs the server.

    Raises:
        XrayclsError: no credentials, or some that can't be read.
        Failure: the login has to be renewed, and the server can't be reached or refuses.
    """
    credential = _token() or user_and_key()
    if credential is None:
        with _translated():
            credential = _login(timeout)
    return Kaggle(credential, timeout)


def _token() -> Credential | None:
    from kagglesdk import get_access_token_from_env

    try:
        token, origin = get_access_token_from_env()
    except (OSError, ValueError) as error:
        # Not the error itself: the client looks for a file of the token's name, which OSError would tell.
        reason = getattr(error, "strerror", None) or "it is no text"
        raise XrayclsError(
            f"Kaggle's access token can't be read: {reason}", "See KAGGLE_API_TOKEN and ~/.kaggle/access_token"
        ) from None
    if not token:
        return None
    return Credential("~/.kaggle/access_token" if origin == "access_token" else origin, token=token)


def _login(timeout: tuple[float, float]) -> Credential:
    """What ``kaggle auth login`` left behind, exchanged for an access token of some hours."""
    from kagglesdk import KaggleCredentials
    from requests import HTTPError

    with _client(timeout) as client:
        try:
            login = KaggleCredentials.load(client)
        except (OSError, ValueError, AttributeError) as error:
            raise XrayclsError(f"{LOGIN} can't be read: {error}", 'Run "kaggle auth login" again') from None
        if login is None:
            raise no_credentials()
        try:
            # Not get_access_token(): that takes a token for good until half an hour after it has expired.
            return Credential(LOGIN, token=login.generate_access_token().token)
        except HTTPError as error:
            if error.response.status_code in (400, 401, 403):
                raise XrayclsError(
                    f"Kaggle does not accept the login in {LOGIN} any more", 'Run "kaggle auth login" again'
                ) from None
            raise


def _ask(client: Any, source: Source, file: str | None) -> Response:
    """The client's own request for an archive or a single file."""
    if source.kind == "dataset":
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = source.reference.split("/")
        request.file_name = file
        return client.datasets.dataset_api_client.download_dataset(request)  # type: ignore[no-any-return]
    from kagglesdk.competitions.types import competition_api_service as types

    service = client.competitions.competition_api_client
    request = types.ApiDownloadDataFilesRequest() if file is None else types.ApiDownloadDataFileRequest()
    request.competition_name = source.reference
    if file is None:
        return service.download_data_files(request)  # type: ignore[no-any-return]
    request.file_name = file
    return service.download_data_file(request)  # type: ignore[no-any-return]


@contextmanager
def _client(timeout: tuple[float, float], credential: Credential | None = None) -> Iterator[Any]:
    """The official client, signed in; it gives up on a server that doesn't answer."""
    from kagglesdk import KaggleClient
    from requests.adapters import HTTPAdapter

    class Limited(HTTPAdapter):
        def send(self, *arguments: Any, **settings: Any) -> Response:
            return super().send(*arguments, **{**settings, "timeout": settings.get("timeout") or timeout})

    signs = (
        {"username": credential.username, "password": credential.key, "api_token": credential.token}
        if credential
        else {}
    )
    with KaggleClient(user_agent=_AGENT, **signs) as client:
        session: Session | None = getattr(client.http_client(), "_session", None)
        if session is not None:  # the client has no setting for a time limit, and would wait forever
            session.mount("https://", Limited())
            session.mount("http://", Limited())
        yield client


@contextmanager
def _translated() -> Iterator[None]:
    """Tell failures in our own words, without the addresses in theirs: those of the storage are signed."""
    from requests import RequestException

    try:
        yield
    except RequestException as error:
        raise _failure(error) from None
    except OSError as error:
        raise XrayclsError(
            f"No line to Kaggle can be made: {error}", "Check the variables REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
        ) from None


def _failure(error: RequestException) -> Failure:
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        response = error.response
        return Failure(
            "refused",
            status=response.status_code,
            reason=_reason(response),
            wait=asked_wait(response.headers.get("Retry-After", "")),
            from_storage="Authorization" not in response.request.headers,
        )
    # A certificate and a proxy at fault, and a connection too slow to come about, are kinds of ConnectionError.
    kinds: tuple[tuple[Kind, tuple[type[RequestException], ...]], ...] = (
        ("certificate", (exceptions.SSLError,)),
        ("proxy", (exceptions.ProxyError, exceptions.InvalidProxyURL)),
        ("unreachable", (exceptions.ConnectionError,)),
        ("silent", (exceptions.Timeout,)),
        ("cut", (exceptions.ChunkedEncodingError, exceptions.ContentDecodingError)),
    )
    kind: Kind = next((kind for kind, classes in kinds if isinstance(error, classes)), "strange")
    return Failure(kind, reason=type(error).__name__)


def _reason(response: Response) -> str:
    """What Kaggle says itself, when it is short enough for a sentence."""
    try:
        said = " ".join(str(response.json()["message"]).split())
    except (ValueError, KeyError, TypeError, OSError):  # no JSON, another kind of JSON, or cut
        return ""
    return said.rstrip(".") if len(said) <= 200 else ""


def _pieces(response: Response) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    try:
        # Not iter_content: that loses what it has gathered of a piece when the line breaks.
        yield from response.raw.stream(_CHUNK, decode_content=False)
    except HTTPError:
        raise Failure("cut") from None

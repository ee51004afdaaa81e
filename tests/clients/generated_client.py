"""A client that openapi-python-client generates from the OpenAPI document of the running server."""

import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from desk import ADMIN, BASE


class Generated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        document = pathlib.Path(folder.name, "openapi.json")
        with urllib.request.urlopen(BASE + "/v1/openapi.json") as answer:
            document.write_bytes(answer.read())
        programs = pathlib.Path(sys.executable).parent
        cls.package = pathlib.Path(folder.name, "generated_keydesk")
        done = subprocess.run(
            [
                programs / "openapi-python-client",
                "generate",
                *["--path", document, "--output-path", cls.package],
                *["--meta", "none", "--fail-on-warning"],
            ],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        sys.path.insert(0, folder.name)
        cls.addClassCleanup(sys.path.remove, folder.name)
        cls.models = importlib.import_module("generated_keydesk.models")
        client = importlib.import_module("generated_keydesk").AuthenticatedClient
        cls.client = client(base_url=BASE, token=ADMIN)

    def body(self, name):
        scopes = [self.models.CreateBodyScopesItem("inference:read")]
        return self.models.CreateBody(name=name, scopes=scopes, expires_in_days=30)

    def call(self, name, *values, **named):
        """Calls an operation, whichever tag it is under."""
        [file] = self.package.glob(f"api/*/{name}.py")
        operation = importlib.import_module(f"generated_keydesk.api.{file.parent.name}.{name}")
        return operation.sync_detailed(*values, client=self.client, **named)

    def test_creates_lists_rotates_and_revokes_a_key(self):
        created = self.call("post_api_keys", body=self.body("generated"))
        self.assertEqual(created.status_code, 201)
        secret, key = created.parsed.key, created.parsed.id
        self.assertRegex(secret, "^kd_")
        page = self.call("get_api_keys", limit=10).parsed
        self.assertEqual([one.name for one in page.data], ["generated", "admin"])
        self.assertIsNone(page.next_cursor)
        rotated = self.call("post_api_keys_id_rotate", key, body=self.models.RotateBody(overlap="1h")).parsed
        self.assertNotEqual(rotated.key, secret)
        self.assertTrue(rotated.rotation.old.hint.endswith(secret[-4:]))
        revoked = self.call("post_api_keys_id_revoke", key, body=self.models.RevokeBody(reason="done")).parsed
        self.assertEqual((revoked.status, revoked.revoked.reason), ("revoked", "done"))
        shown = self.call("get_api_keys_id", key).parsed
        self.assertEqual(shown.revoked.at, revoked.revoked.at)

    def test_reads_a_refusal_as_a_problem(self):
        refused = self.call("post_api_keys", body=self.body(""))
        self.assertEqual((refused.status_code, refused.parsed.code), (422, "validation_failed"))
        self.assertEqual(refused.parsed.errors[0].field, "name")


if __name__ == "__main__":
    unittest.main()

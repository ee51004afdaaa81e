"""Token introspection (RFC 7662) by the client of Authlib."""

import unittest

from authlib.integrations.requests_client import OAuth2Session

from desk import ADMIN, BASE, call, create

URL = BASE + "/v1/introspect"


class Introspection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.verifier = create("authlib-verifier", scopes=["keys:verify"])
        cls.caller = create("authlib-caller")
        cls.reader = create("authlib-reader", scopes=["inference:read"])

    def session(self, secret, method="client_secret_basic", client="keydesk"):
        return OAuth2Session(client, secret, token_endpoint_auth_method=method)

    def test_a_client_that_sends_its_key_as_password_is_told_about_a_key(self):
        for client in ["keydesk", self.verifier["id"]]:
            with self.subTest(client):
                answer = self.session(self.verifier["key"], client=client).introspect_token(URL, self.caller["key"])
                self.assertEqual(answer.status_code, 200, answer.text)
                told = answer.json()
                self.assertIs(told["active"], True)
                self.assertEqual(set(told["scope"].split()), {"inference:read", "inference:write"})

    def test_a_client_that_sends_it_as_bearer_token_is_told_the_same(self):
        token = {"access_token": self.verifier["key"], "token_type": "Bearer"}
        answer = OAuth2Session(token=token).post(URL, data={"token": self.caller["key"]})
        self.assertIs(answer.json()["active"], True)

    def test_an_unknown_or_revoked_key_is_inactive_and_nothing_else_is_told(self):
        ended = create("authlib-ended")
        call(f"/v1/api-keys/{ended['id']}/revoke", {})
        for token in [ended["key"], "kd_unknown"]:
            answer = self.session(self.verifier["key"]).introspect_token(URL, token, token_type_hint="access_token")
            self.assertEqual((answer.status_code, answer.json()), (200, {"active": False}))

    def test_a_wrong_password_a_lacking_scope_and_no_credential_are_refused(self):
        for secret, status in [("kd_unknown", 401), (self.reader["key"], 403), (ADMIN, 403)]:
            answer = self.session(secret).introspect_token(URL, self.caller["key"])
            self.assertEqual(answer.status_code, status, answer.text)
            self.assertNotIn("active", answer.text)
        anonymous = OAuth2Session("keydesk").request("POST", URL, withhold_token=True, data={"token": "x"})
        self.assertEqual(anonymous.status_code, 401)
        # RFC 7235 §3.1: a 401 names the schemes that would do.
        self.assertRegex(anonymous.headers["www-authenticate"], "Bearer")
        self.assertRegex(anonymous.headers["www-authenticate"], "Basic")

    def test_basic_is_for_introspection_alone(self):
        answer = self.session(self.verifier["key"]).post(
            BASE + "/v1/api-keys/verify", auth=("keydesk", self.verifier["key"]), withhold_token=True, json={"key": "x"}
        )
        self.assertEqual(answer.status_code, 401)

    def test_a_secret_in_the_body_is_refused(self):
        answer = self.session(self.verifier["key"], "client_secret_post").introspect_token(URL, self.caller["key"])
        self.assertEqual(answer.status_code, 401, answer.text)
        self.assertNotIn(self.verifier["key"], answer.text)


if __name__ == "__main__":
    unittest.main()

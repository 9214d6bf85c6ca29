/* SPDX-License-Identifier: MIT */
/* OpenSSL: a digest, a cipher, a signature, base64, a certificate's name. */
#include "library.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

static EVP_PKEY *key;

static int digest_and_cipher(char *text, size_t size)
{
	static const unsigned char secret[32] = {1, 2, 3}, iv[12] = {4};
	unsigned char hash[EVP_MAX_MD_SIZE], out[256];
	unsigned int hash_length = 0;
	int length = 0, rest = 0;
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int fine = cipher &&
		   EVP_Digest("some text", 9, hash, &hash_length, EVP_sha256(), NULL) &&
		   EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, secret, iv) &&
		   EVP_EncryptUpdate(cipher, out, &length, hash, (int)hash_length) &&
		   EVP_EncryptFinal_ex(cipher, out + length, &rest);

	EVP_CIPHER_CTX_free(cipher);
	for (int i = 0; fine && i < 16; i++)
		snprintf(text + 2 * i, size - 2 * (size_t)i, "%02x", out[i]);
	return fine;
}

static int sign_and_verify(void)
{
	unsigned char signature[256];
	size_t length = sizeof(signature);
	EVP_MD_CTX *sign = EVP_MD_CTX_new(), *verify = EVP_MD_CTX_new();
	int fine =
		sign && verify &&
		EVP_DigestSignInit(sign, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestSign(sign, signature, &length, (const unsigned char *)"x", 1) == 1 &&
		EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(verify, signature, length, (const unsigned char *)"x", 1) == 1;

	EVP_MD_CTX_free(verify);
	EVP_MD_CTX_free(sign);
	return fine;
}

static int name_of_certificate(char *text, size_t size)
{
	X509 *certificate = X509_new();
	X509_NAME *name = certificate ? X509_get_subject_name(certificate) : NULL;
	int fine =
		name && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
						   (const unsigned char *)"a name", -1, -1, 0);
	fine = fine && X509_NAME_oneline(name, text, (int)size) &&
	       X509_set_pubkey(certificate, key) &&
	       X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
	       X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) &&
	       X509_set_issuer_name(certificate, name) &&
	       X509_sign(certificate, key, EVP_sha256());
	X509_free(certificate);
	return fine;
}

/* What each thread has of its own: an error queue and random generators. */
static int warm_thread(void)
{
	unsigned char bytes[32];

	ERR_put_error(ERR_LIB_USER, 0, 1, "", 0);
	ERR_clear_error();
	return RAND_bytes(bytes, sizeof(bytes)) == 1 &&
	       RAND_priv_bytes(bytes, sizeof(bytes)) == 1;
}

/* The algorithms that a provider has are looked up at first use, and kept: so
 * everything that requests will do is done once, outside of any bucket. */
int pail_start(int argc, char **argv)
{
	char text[64];

	(void)argc;
	(void)argv;
	key = EVP_EC_gen("P-256");
	return !(key && OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) &&
		 digest_and_cipher(text, sizeof(text)) && sign_and_verify() &&
		 name_of_certificate(text, sizeof(text)));
}

int pail_thread_start(void)
{
	return !warm_thread();
}

/* The error queue keeps the buffers of its texts, also when it is cleared: the
 * thread's state is made anew, outside of the bucket. */
void pail_request_end(struct pail_request *r)
{
	(void)r;
	pail_outside_begin();
	OPENSSL_thread_stop();
	warm_thread();
	pail_outside_end();
}

static int library_work(struct pail_request *r)
{
	char cipher[64] = "", name[64] = "";

	if (!digest_and_cipher(cipher, sizeof(cipher)) || !sign_and_verify() ||
	    !name_of_certificate(name, sizeof(name)))
		return 500;
	library_say(r, cipher);
	library_say(r, name);
	return 200;
}

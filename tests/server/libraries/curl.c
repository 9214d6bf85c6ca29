/* SPDX-License-Identifier: MIT */
/* curl: a URL taken apart, a file and (?port=N) a page of a server on this machine. */
#include "library.h"

#include <curl/curl.h>

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK;
}

/* Its TLS library keeps a state per thread. */
int pail_thread_start(void)
{
	CURL *curl = curl_easy_init();

	curl_easy_cleanup(curl);
	return curl == NULL;
}

static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	pail_write(context, bytes, size * count);
	return size * count;
}

static int fetch(struct pail_request *r, const char *url)
{
	CURL *curl = curl_easy_init();
	int fine = curl != NULL;

	if (!curl)
		return 0;
	struct curl_slist *headers = curl_slist_append(NULL, "X-Test: 1");
	fine = headers && curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 3000L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEDATA, r) == CURLE_OK &&
	       curl_easy_perform(curl) == CURLE_OK;
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return fine;
}

static int library_work(struct pail_request *r)
{
	char url[64], *host = NULL;
	CURLU *parts = curl_url();
	int fine = parts &&
		   curl_url_set(parts, CURLUPART_URL, "http://a.example:81/b?c=d#e", 0) ==
			   CURLUE_OK &&
		   curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;

	if (fine)
		library_say(r, host);
	curl_free(host);
	curl_url_cleanup(parts);
	fine = fine && fetch(r, "file:///proc/sys/kernel/ostype");
	if (fine && library_number(r, "port=")) {
		snprintf(url, sizeof(url), "http://127.0.0.1:%ld/", library_number(r, "port="));
		fine = fetch(r, url);
	}
	return fine ? 200 : 500;
}

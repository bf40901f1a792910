// The login page: the server sends a wrong token back here with "?wrong".

if (new URLSearchParams(location.search).has("wrong")) document.getElementById("problem").hidden = false;
